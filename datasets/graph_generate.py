"""Generated graphs as folders of npy files, written as they are computed: `datasets.graph_law` says what they are like.

indptr.npy    int64 [nodes + 1]   in-edges of node v are indices[indptr[v]:indptr[v + 1]]
indices.npy   int64 [edges]       their sources, ascending within a node
features.npy  float32 or float16 [nodes, dim]
labels.npy    int64 [nodes]       classes
train_idx.npy, val_idx.npy, test_idx.npy    int64, disjoint random nodes, ascending
graph.json    what the graph was made with; written last, so a folder that holds it is whole
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from outcrop.datasets.atomic_file import atomic_path
from outcrop.datasets.graph_law import CHUNK_NODES, CHUNK_ROWS, GraphLaw, GraphShape
from outcrop.datasets.npy_file import NpyWriter
from outcrop.datasets.raw_file import translate
from outcrop.errors import InvalidArgument

FEATURE_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))

Step: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being written, the nodes done, and the number of all."""


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of all nodes, 0 to 1 together."""

    train: float = 0.1
    val: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise InvalidArgument(f"train, val and test must be shares of at most 1 together, found {shares}")


@dataclass(frozen=True, slots=True)
class GeneratedGraph:
    """What was written. homophily: the share of edges within a class."""

    folder: Path
    shape: GraphShape
    split: Split
    dtype: str
    num_edges: int
    homophily: float
    size_bytes: int


def make_graph(
    folder: str | os.PathLike[str],
    shape: GraphShape,
    split: Split | None = None,
    dtype: npt.DTypeLike = np.float32,
    step: Step | None = None,
) -> GeneratedGraph:
    """Write a generated graph into `folder`, made if needed; files of the same names are replaced.

    dtype: float32 or float16, of the features. Holds about 100 MB besides the labels (a byte or two per node) and
    one of the three sets. The same arguments give the same bytes.
    Raises InvalidArgument, StorageFailure.
    """
    folder, split, dtype = Path(folder), split or Split(), np.dtype(dtype)
    if dtype not in FEATURE_DTYPES:
        raise InvalidArgument(f"features are float32 or float16, not {dtype}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "graph.json").unlink(missing_ok=True)
    except OSError as error:
        raise translate(error, folder) from error
    law, step = GraphLaw(shape), step or _silent
    labels = _write_labels(folder, law)
    _write_split(folder, law, split)
    num_edges, num_within = _write_edges(folder, law, labels, step)
    _write_features(folder, law, dtype, step)
    homophily = num_within / num_edges if num_edges else 1.0
    size_bytes = sum(file.stat().st_size for file in folder.glob("*.npy"))
    made = GeneratedGraph(folder, shape, split, dtype.name, num_edges, homophily, size_bytes)
    with atomic_path(folder / "graph.json") as temporary:
        description = asdict(made)
        del description["folder"]
        temporary.write_text(json.dumps(description, indent=2) + "\n")
    return made


def _write_labels(folder: Path, law: GraphLaw) -> npt.NDArray[Any]:
    """Write labels.npy; return the labels in the smallest type that holds them."""
    num_nodes = law.shape.num_nodes
    labels = np.empty(num_nodes, dtype=np.min_scalar_type(law.shape.num_classes - 1))
    with _npy_file(folder / "labels.npy", np.int64) as writer:
        for start in range(0, num_nodes, CHUNK_NODES):
            chunk = law.labels(start, min(start + CHUNK_NODES, num_nodes))
            labels[start : start + CHUNK_NODES] = chunk
            writer.append(chunk)
        writer.finish(num_nodes)
    return labels


def _write_split(folder: Path, law: GraphLaw, split: Split) -> None:
    counts = [int(share * law.shape.num_nodes + 0.5) for share in (split.train, split.val, split.test)]
    counts[2] = min(counts[2], law.shape.num_nodes - counts[0] - counts[1])
    for name, nodes in zip(("train", "val", "test"), law.split(*counts), strict=True):
        with _npy_file(folder / f"{name}_idx.npy", np.int64) as writer:
            writer.append(nodes)
            writer.finish(len(nodes))


def _write_edges(folder: Path, law: GraphLaw, labels: npt.NDArray[Any], step: Step) -> tuple[int, int]:
    """Write indptr.npy and indices.npy; return the number of edges, and of those within a class."""
    num_nodes, num_edges, num_within = law.shape.num_nodes, 0, 0
    with _npy_file(folder / "indptr.npy", np.int64) as indptr, _npy_file(folder / "indices.npy", np.int64) as indices:
        indptr.append(np.zeros(1, np.int64))
        for chunk in range(law.num_chunks):
            degrees, sources = law.columns(chunk)
            indptr.append(num_edges + np.cumsum(degrees))
            indices.append(sources)
            own = labels[chunk * CHUNK_NODES : (chunk + 1) * CHUNK_NODES]
            num_edges += len(sources)
            num_within += int(np.count_nonzero(labels[sources] == np.repeat(own, degrees)))
            step("edges", min((chunk + 1) * CHUNK_NODES, num_nodes), num_nodes)
        indptr.finish(num_nodes + 1)
        indices.finish(num_edges)
    return num_edges, num_within


def _write_features(folder: Path, law: GraphLaw, dtype: np.dtype[Any], step: Step) -> None:
    num_nodes = law.shape.num_nodes
    with _npy_file(folder / "features.npy", dtype, (law.shape.dim,)) as writer:
        for start in range(0, num_nodes, CHUNK_ROWS):
            rows = law.features(start // CHUNK_ROWS)
            writer.append(rows.astype(dtype, copy=False))
            step("features", start + len(rows), num_nodes)
        writer.finish(num_nodes)


@contextmanager
def _npy_file(path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...] = ()) -> Iterator[NpyWriter]:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield NpyWriter(file, row_shape, np.dtype(dtype))


def _silent(what: str, done: int, total: int) -> None: ...
