"""How many edges a second does the sampler draw, beside DGL's on the same graph?

An edge counts when it stands in a minibatch, so numbering the nodes locally is part of the time on both sides. Systems
take turns, minibatch for minibatch the same seeds; a figure is the best of the rounds, and all rounds are in the JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.environment import describe

from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.gnn_loader import ArrayGraph, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.types import NODE, NODE_TO_NODE, CscArrays

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
Epoch = Callable[[int], Iterator[tuple[int, int]]]  # of an epoch's number: edges and rows of each minibatch


@dataclass(frozen=True)
class Graph:
    indptr: Any
    indices: Any
    train: Any


@dataclass(frozen=True)
class Round:
    """One epoch, or a part of it, by one system. cpu_seconds: of all its threads."""

    system: str
    method: str
    threads: int
    seconds: float
    cpu_seconds: float
    minibatches: int
    edges: int
    rows: int

    @property
    def edges_per_second(self) -> float:
        return self.edges / self.seconds


OURS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "with replacement": {"replace": True},
    "each node once": {"expand": "newcomers"},
    "weighted": {"weighted": True},
    "labor": {"labor": "per_hop"},
}


def main() -> None:
    arguments = _arguments()
    workload = tomllib.loads((HERE / "workload.toml").read_text())
    workload = workload["small"] if arguments.small else workload
    folder = arguments.data / f"graph-{workload['graph']['nodes']}"
    graph = load_graph(folder, workload["graph"], workload["epoch"]["train_share"])
    rounds = measure(graph, workload["epoch"], arguments)
    found = {"workload": workload, "environment": describe(folder), "rounds": [asdict(r) for r in rounds]}
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "sample.json").write_text(json.dumps(found, indent=2))
    print(json.dumps(found) if arguments.json else table(rounds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="show in seconds that everything runs")
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")
    parser.add_argument("--out", type=Path, help="also write sample.json into this folder")
    parser.add_argument("--data", type=Path, default=Path("bench-data"), help="where the graph is, or is made")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=int, help="minibatches of an epoch, where not all")
    return parser.parse_args()


def load_graph(folder: Path, shape: dict[str, Any], train_share: float) -> Graph:
    if not (folder / "graph.json").exists():
        split = Split(train_share, 0.001, 0.001)
        make_graph(folder, GraphShape(shape["nodes"], shape["degree"], dim=4, seed=shape["seed"]), split)
    indptr, indices, train = (np.load(folder / f"{name}.npy") for name in ("indptr", "indices", "train_idx"))
    return Graph(indptr, indices, train)


def measure(graph: Graph, epoch: dict[str, Any], arguments: argparse.Namespace) -> list[Round]:
    batches = SeedBatches(NodeSeeds(graph.train), epoch["batch_size"])
    rounds = []
    for threads in arguments.threads:
        systems = [
            *our_systems(graph, epoch["fanouts"], batches, threads, arguments.part),
            *dgl_systems(graph, epoch["fanouts"], batches, threads, arguments.part),
        ]
        for number in range(arguments.rounds):
            rounds += [timed(system, method, threads, run, number) for system, method, run in systems]
    return rounds


def timed(system: str, method: str, threads: int, epoch: Epoch, number: int) -> Round:
    start, cpu_start = time.perf_counter(), time.process_time()
    counts = list(epoch(number))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    edges, rows = (sum(column) for column in zip(*counts, strict=True))
    return Round(system, method, threads, seconds, cpu_seconds, len(counts), edges, rows)


def our_systems(
    graph: Graph, fanouts: list[int], batches: SeedBatches, threads: int, part: int | None
) -> Iterator[tuple[str, str, Epoch]]:
    weights = np.random.default_rng(1).random(len(graph.indices), np.float32)
    stored = ArrayGraph.of(
        {NODE: len(graph.indptr) - 1}, {NODE_TO_NODE: CscArrays(graph.indptr, graph.indices, weights)}
    )
    for method, options in OURS.items():
        sampler = NeighborSampler(stored, fanouts, **options)

        def epoch(number: int, sampler: NeighborSampler = sampler) -> Iterator[tuple[int, int]]:
            for minibatch in sampler.sample_many(batches, epoch=number, count=part, threads=threads):
                yield minibatch.num_edges, len(minibatch.nodes[NODE])

        yield "outcrop", method, epoch


def dgl_systems(
    graph: Graph, fanouts: list[int], batches: SeedBatches, threads: int, part: int | None
) -> Iterator[tuple[str, str, Epoch]]:
    """DGL with int64 ids: with int32 ids its fused path returns smaller minibatches."""
    try:
        import dgl
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
    arrays = torch.from_numpy(graph.indptr), torch.from_numpy(graph.indices.astype(np.int64))
    theirs = dgl.graph(("csc", (*arrays, torch.empty(0, dtype=torch.int64))))
    theirs.edata["w"] = torch.from_numpy(np.random.default_rng(1).random(len(graph.indices), np.float32))
    samplers = {
        "uniform": dgl.dataloading.NeighborSampler(fanouts),
        "with replacement": dgl.dataloading.NeighborSampler(fanouts, replace=True),
        "weighted": dgl.dataloading.NeighborSampler(fanouts, prob="w"),
        "labor": dgl.dataloading.LaborSampler(fanouts),
    }
    for method, sampler in samplers.items():

        def epoch(number: int, sampler: Any = sampler) -> Iterator[tuple[int, int]]:
            for positions in list(batches.epoch(number))[:part]:
                seeds = torch.from_numpy(graph.train[positions].astype(np.int64))
                inputs, _, blocks = sampler.sample(theirs, seeds)
                yield sum(int(block.num_edges()) for block in blocks), len(inputs)

        yield "dgl", method, epoch


def table(rounds: list[Round]) -> str:
    columns = ["threads", "method", "system", "M edges/s", "M edges/CPU s", "ms a minibatch", "edges", "rows"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for key in dict.fromkeys((r.threads, r.method, r.system) for r in rounds):
        same = [r for r in rounds if (r.threads, r.method, r.system) == key]
        best = max(same, key=lambda r: r.edges_per_second)
        thrifty = min(same, key=lambda r: r.cpu_seconds / r.edges)
        threads, method, system = key
        lines.append(
            f"| {threads} | {method} | {system} | {best.edges_per_second / 1e6:.1f} "
            f"| {thrifty.edges / thrifty.cpu_seconds / 1e6:.1f} "
            f"| {1e3 * best.seconds / best.minibatches:.1f} | {best.edges // best.minibatches:,} "
            f"| {best.rows // best.minibatches:,} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
