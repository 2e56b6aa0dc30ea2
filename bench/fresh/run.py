"""How much of sampling and packing the next epoch goes on behind training this one? See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment

import outcrop
from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.embedded import Database
from outcrop.gnn_loader import FreshLoader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools


def main() -> None:
    arguments = _parser().parse_args()
    workload = tomllib.loads(Path(__file__).with_name("workload.toml").read_text())
    small = workload.pop("small")
    workload |= small if arguments.small else {}
    if arguments.folder is not None:
        Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = arguments.graph or _generate(Path(scratch) / "graph", workload)
        with outcrop.connect(Path(scratch) / "root", memory="2GiB", threads=arguments.threads) as database:
            database.import_graph("graph", (_load(folder, "indptr"), _load(folder, "indices"))).wait()
            database.import_features("x", _load(folder, "features")).wait()
            result = {
                "workload": workload,
                "loading": _run(database, folder, workload, _only_load),
                "training": _run(database, folder, workload, _trainer(folder, workload)),
                "environment": environment.describe(Path(scratch)),
            }
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{workload['name']}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json else _table(result))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small graph, to see that everything runs")
    parser.add_argument("--graph", type=Path, help="a folder of `outcrop graph make`; made when there is none")
    parser.add_argument("--folder", type=Path, help="on the device to measure; by default the system's temporary one")
    parser.add_argument("--threads", type=int, default=1, help="that sample")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="a folder for the JSON object")
    return parser


def _generate(folder: Path, workload: dict[str, Any]) -> Path:
    shape = GraphShape(workload["num_nodes"], workload["degree"], workload["dim"], seed=workload["seed"])
    make_graph(folder, shape, Split(train=workload["train_share"]))
    return folder


def _load(folder: Path, name: str) -> Any:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def _run(
    database: Database, folder: Path, workload: dict[str, Any], take: Callable[[FreshLoader], object]
) -> list[dict[str, Any]]:
    """Go through the epochs, each by `take`, and return what each took."""
    features = _load(folder, "features")
    seconds = []
    with database.fresh_loader(
        "fresh",
        graph="graph",
        features="x",
        seeds=_load(folder, "train_idx"),
        fanouts=workload["fanouts"],
        batch_size=workload["batch_size"],
        epochs=workload["epochs"],
        seed=workload["seed"],
        cache_memory=int(workload["cache_share"] * features.nbytes),
        pack_memory=workload["pack_memory"],
    ) as loader:
        for _ in range(workload["epochs"]):
            begin = time.perf_counter()
            take(loader)
            seconds.append(time.perf_counter() - begin)
        found = loader.statistics().epochs
    return [
        {
            "epoch": epoch.epoch,
            "seconds": round(taken, 2),
            "making_seconds": round(epoch.making_seconds, 2),
            "waited_seconds": round(epoch.waited_seconds, 2),
            "hidden": round(epoch.hidden, 3),
            "rows": epoch.accesses,
            "misses": epoch.misses,
            "log_bytes": epoch.log_bytes,
        }
        for epoch, taken in zip(found, seconds, strict=True)
    ]


def _only_load(loader: FreshLoader) -> None:
    for _ in loader:
        pass


def _trainer(folder: Path, workload: dict[str, Any]) -> Callable[[FreshLoader], object]:
    import torch

    from outcrop.gnn_loader.adapters.train import GraphSage, train_epoch

    labels = np.load(folder / "labels.npy")
    hops = len(workload["fanouts"])
    model = GraphSage(workload["dim"], workload["hidden_dim"], int(labels.max()) + 1, hops)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    return lambda loader: train_epoch(model, optimizer, loader, labels)


def _table(result: dict[str, Any]) -> str:
    lines = [
        "| what | epoch | seconds | of which waited for the plan | making the plan | hidden | rows missed | log GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what in ("loading", "training"):
        lines += [
            f"| {what} | {row['epoch']} | {row['seconds']} | {row['waited_seconds']} | {row['making_seconds']} "
            f"| {row['hidden']:.0%} | {row['misses']:,} of {row['rows']:,} | {row['log_bytes'] / 1e9:.2f} |"
            for row in result[what]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
