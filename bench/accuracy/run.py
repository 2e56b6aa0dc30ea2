"""Is what is loaded from SSD learned as well as what lies in memory? See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment
import torch
from loaders import GRAPH, MODES, opened
from tasks import Task, read_task

import outcrop
from outcrop.embedded import Database
from outcrop.gnn_loader.adapters.train import EpochReport, GraphSage, TrainOptions, evaluate, fit
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NodeSeeds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

CODECS = ("float16", "bfloat16", "int8")
# A run is a way of loading and a codec. Codecs are compared by one way of loading: rows are decoded alike by all.
RUNS = [("memory", "raw"), *((mode, "raw") for mode in MODES), *(("fetch", codec) for codec in CODECS)]


def main() -> None:
    arguments = _parser().parse_args()
    workload = tomllib.loads(Path(__file__).with_name("workload.toml").read_text())
    small, graphs = workload.pop("small"), workload.pop("graphs")
    workload |= small if arguments.small else {}
    names = ["generated"] if arguments.small else arguments.graphs.split(",")
    torch.set_num_threads(1)
    results = []
    for name in names:
        task = read_task(name, graphs[name])
        if task is None:
            print(f"{name}: its folder is not on this machine, left out", file=sys.stderr)
            continue
        results += _measure(task, workload | graphs[name], arguments.runs)
    result = {"environment": environment.describe(Path(__file__).parent), "workload": workload, "results": results}
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{workload['name']}.json").write_text(json.dumps(result, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(result))
    else:
        _print(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small graph and one seed, to see that everything runs")
    parser.add_argument("--graphs", default="cora,debian-deps", help="of the workload, separated by commas")
    parser.add_argument("--runs", help="such as memory/raw,fetch/int8; all by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="a folder for the JSON object")
    return parser


def _measure(task: Task, options: dict[str, Any], asked: str | None) -> list[dict[str, Any]]:
    runs = RUNS if asked is None else [run for run in RUNS if "/".join(run) in asked.split(",")]
    found = []
    with tempfile.TemporaryDirectory(prefix="outcrop-accuracy-") as folder, outcrop.connect(folder) as database:
        database.import_graph(GRAPH, (task.indptr, task.indices)).wait()
        for codec in dict.fromkeys(codec for _, codec in runs):
            database.import_features(codec, task.features, codec=codec).wait()
        for mode, codec in runs:
            accuracies, seconds, losses = [], [], []
            for seed in options["seeds"]:
                began = time.perf_counter()
                accuracy, reports = _train(database, task, mode, codec, options, seed)
                accuracies.append(accuracy)
                losses.append(reports[-1].loss)
                seconds.append(mean(report.seconds for report in reports))
                print(
                    f"{task.name} {mode} {codec} {seed}: {accuracy:.4f}, {time.perf_counter() - began:.0f} s",
                    file=sys.stderr,
                )
            with database.features(codec) as rows:
                row_bytes = rows.row_bytes
            found.append(
                {
                    "graph": task.name,
                    "mode": mode,
                    "codec": codec,
                    "row_bytes": row_bytes,
                    "accuracies": accuracies,
                    "last_losses": losses,
                    "epoch_seconds": mean(seconds),
                }
            )
    return found


def _train(
    database: Database, task: Task, mode: str, codec: str, options: dict[str, Any], seed: int
) -> tuple[float, list[EpochReport]]:
    """Train once; return the mean accuracy behind the last epochs, and what `fit` reports."""
    chosen = TrainOptions(
        options["epochs"],
        options["hidden_dim"],
        options["dropout"],
        options["learning_rate"],
        options["weight_decay"],
        seed,
    )
    first = options["epochs"] - options["averaged_epochs"]
    accuracies: list[float] = []

    def validate(model: GraphSage) -> float:
        accuracies.append(_accuracy(model, database, task, codec, options) if len(accuracies) >= first else 0.0)
        return accuracies[-1]

    with opened(mode, database, task, codec, options, seed) as loader:
        num_layers, dim = len(options["fanouts"]), task.features.shape[1]
        labels = torch.from_numpy(task.labels)
        _, reports = fit(loader, labels, chosen, in_dim=dim, num_layers=num_layers, validate=validate)
    return mean(accuracies[first:]), reports


def _accuracy(model: GraphSage, database: Database, task: Task, codec: str, options: dict[str, Any]) -> float:
    """The share of held-out nodes that the model names, from rows of the codec that it was trained with."""
    sampler = NeighborSampler(
        ArrayGraph.homogeneous(task.indptr, task.indices), [options["evaluation_fanout"]] * len(options["fanouts"])
    )
    batches = SeedBatches(NodeSeeds(task.held_out), 2048, shuffle=False)
    with database.features(codec) as rows:
        return evaluate(model, FetchLoader(sampler, batches, {codec: rows}), task.labels)


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result["environment"], indent=1))
    print("\n| graph | rows from | codec | bytes a row | accuracy, mean (s.d.) | against memory | seconds an epoch |")
    print("|---" * 7 + "|")
    memory = {row["graph"]: mean(row["accuracies"]) for row in result["results"] if row["mode"] == "memory"}
    for row in result["results"]:
        accuracies = row["accuracies"]
        spread = f" ({100 * stdev(accuracies):.2f})" if len(accuracies) > 1 else ""
        against = f"{100 * (mean(accuracies) - memory[row['graph']]):+.2f}" if row["graph"] in memory else ""
        print(
            f"| {row['graph']} | {row['mode']} | {row['codec']} | {row['row_bytes']:,} | "
            f"{100 * mean(accuracies):.2f}{spread} | {against} | {row['epoch_seconds']:.2f} |"
        )


if __name__ == "__main__":
    main()
