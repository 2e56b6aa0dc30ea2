"""What is learned: a graph, features, classes, and which nodes to train on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Task:
    """indptr, indices: by destination. features: float32 [num_nodes, dim]. held_out: nodes to measure accuracy with."""

    name: str
    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


def read_task(name: str, options: dict[str, Any]) -> Task | None:
    """Return a task of the workload; None where its folder is not on this machine."""
    if "folder" in options:
        folder = SHARED / options["folder"]
        return _read(name, folder, *options["arrays"]) if folder.is_dir() else None
    shape = GraphShape(options["num_nodes"], options["degree"], options["dim"], options["num_classes"], 0)
    with tempfile.TemporaryDirectory() as folder_name:
        make_graph(folder_name, shape, Split(0.3, 0.2, 0.4))
        return _read(name, Path(folder_name), "indptr", "indices")


def _read(name: str, folder: Path, indptr: str, indices: str) -> Task:
    def load(stem: str, dtype: Any) -> Any:
        return np.load(folder / f"{stem}.npy").astype(dtype)

    held_out = np.concatenate([load("val_idx", np.int64), load("test_idx", np.int64)])
    return Task(
        name,
        load(indptr, np.int64),
        load(indices, np.int64),
        load("features", np.float32),
        load("labels", np.int64),
        load("train_idx", np.int64),
        held_out,
    )
