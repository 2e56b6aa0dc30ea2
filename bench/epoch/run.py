"""How long does an epoch of minibatches take, when feature rows may use a small part of their size as memory?

Each system runs in a process of its own, below the same memory limit, which counts the page cache too; see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path += [str(folder) for folder in Path(__file__).resolve().parents[1:3]]

import cgroup
import environment
import tables
from tests.belady import belady_misses, static_misses

import outcrop
from outcrop import native
from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.store import parse_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

HERE = Path(__file__).parent
# Minibatches that a system has in memory besides the rows it keeps between them: with the consumer, and on their way.
# Three threads ahead of the consumer, with two in each queue, hold more of them; a memory map holds one and the next.
_IN_FLIGHT = {"DGL memory-mapped": 2, "DiskGNN's way": 8}
_TRAINED = ("outcrop planned", "DGL in memory")
_SLACK_BYTES = 64 << 20  # stacks of threads, allocators, libraries that load late
_PEERS = ("DGL in memory", "DGL memory-mapped", "DiskGNN's way")
Record = dict[str, Any]


def main() -> None:
    """Parse, make what is missing, measure, print, write."""
    arguments = _parse()
    workload = tomllib.loads((HERE / "workload.toml").read_text())
    workload = workload["small"] if arguments.small else {k: v for k, v in workload.items() if k != "small"}
    with tempfile.TemporaryDirectory(prefix="outcrop-bench-") as temporary:
        scratch = Path(arguments.scratch or temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        result = Bench(arguments, workload, scratch).run()
    if arguments.json:
        print(json.dumps(result))
    else:
        tables.print_result(result)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "epoch.json").write_text(json.dumps(result, indent=1) + "\n")
        tables.plot(result, arguments.out / "epoch.png")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="folder on the device to measure; what lies there is used again")
    parser.add_argument("--caches", help="shares of the features that may stay in memory, by comma, as 0.05,0.1")
    parser.add_argument("--epochs", type=int, default=3, help="epochs per system; the first one is told apart")
    parser.add_argument("--mapped-batches", type=int, default=3, help="minibatches of the memory-mapped peer; 0: all")
    parser.add_argument("--pack-memory", default="256MiB")
    parser.add_argument("--peers", default=",".join(_PEERS), help="by comma; empty for none")
    parser.add_argument("--train", action="store_true", help="also with a small GraphSAGE, without limits of memory")
    parser.add_argument("--no-limit", action="store_true", help="where control groups cannot be made")
    parser.add_argument("--small", action="store_true", help="seconds, on little: shows that it runs")
    parser.add_argument("--out", type=Path, help="folder for epoch.json and epoch.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser.parse_args()


class Bench:
    """One run: the graph is made and imported once, a plan and the peers' files for each share of memory."""

    def __init__(self, arguments: argparse.Namespace, workload: Record, scratch: Path) -> None:
        self.arguments, self.workload, self.scratch = arguments, workload, scratch
        self.folder, self.root = scratch / f"graph-{workload['nodes']}", scratch / f"root-{workload['nodes']}"
        self.feature_bytes = workload["nodes"] * workload["dim"] * 4
        self.peers = [name for name in arguments.peers.split(",") if name]

    def run(self) -> Record:
        self._make_graph()
        shares = self.workload["cache_shares"]
        if self.arguments.caches:
            shares = [float(share) for share in self.arguments.caches.split(",")]
        self._import()
        records = [self._measure_in_memory()] if "DGL in memory" in self.peers else []
        plans = []
        for share in shares:
            plans.append(self._plan(share))
            records += self._measure_share(share, plans[-1])
        trained = [self._train(name, plans[-1]) for name in _TRAINED] if self.arguments.train else []
        device = native.probe_device(str(max(self.root.rglob("*.blk"), key=lambda p: p.stat().st_size)), 4.0)
        return {
            "environment": environment.describe(self.root),
            "workload": self.workload,
            "feature_bytes": self.feature_bytes,
            "device": {"iops": device.iops, "sequential_bytes_per_s": device.sequential_bytes_per_s},
            "plans": plans,
            "records": records,
            "trained": trained,
        }

    def _make_graph(self) -> None:
        if (self.folder / "graph.json").exists():  # written last
            return
        shape = GraphShape(*(self.workload[name] for name in ("nodes", "degree", "dim", "classes", "seed")))
        make_graph(self.folder, shape, Split(train=self.workload["train_share"]))

    def _import(self) -> None:
        with outcrop.connect(self.root) as database:
            if "bench" not in database.graph_names():
                csc = tuple(np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("indptr", "indices"))
                database.import_graph("bench", csc).wait()
            if "bench" not in database.feature_names():
                database.import_features("bench", np.load(self.folder / "features.npy", mmap_mode="r")).wait()

    def _plan(self, share: float) -> Record:
        """Make the plan for one share of memory, and say what it took and what any cache must miss."""
        name, cache_bytes = f"cache-{share:g}", int(share * self.feature_bytes)
        seeds = np.load(self.folder / "train_idx.npy")
        with outcrop.connect(self.root) as database:
            began = time.perf_counter()
            if name in database.plan_names():
                database.drop_plan(name)
            options = {"fanouts": self.workload["fanouts"], "batch_size": self.workload["batch_size"]}
            database.create_plan(
                name,
                graph="bench",
                features="bench",
                seeds=seeds,
                cache_memory=cache_bytes,
                pack_memory=parse_bytes(self.arguments.pack_memory),
                **options,
            ).wait()
            seconds = time.perf_counter() - began
            with database.plan(name) as plan, plan.loader() as loader:
                report = plan.explain()
                trace = [minibatch.nodes["node"].astype(np.int64) for minibatch in loader]
        num_rows, row_bytes = self.workload["nodes"], 4 * self.workload["dim"]
        rows = int(share * num_rows)
        return {
            "share": share,
            "name": name,
            "seconds": seconds,
            "missed_bytes": int(report.streams[0].rows_missed) * row_bytes,
            "pinned_bytes": report.streams[0].pinned_rows * row_bytes,
            "cost": asdict(report.cost),
            "disk_bytes": report.disk_bytes,
            "accesses": sum(len(rows) for rows in trace),
            "largest_bytes": max(len(rows) for rows in trace) * row_bytes,
            "belady_bytes": belady_misses(trace, num_rows, rows) * row_bytes,
            "static_bytes": (static_misses(trace, num_rows, rows) + rows) * row_bytes,
        }

    def _measure_in_memory(self) -> Record:
        return self._child("DGL in memory", 1.0, "", None)

    def _measure_share(self, share: float, plan: Record) -> list[Record]:
        def allowance(system: str) -> int:
            in_flight = _IN_FLIGHT.get(system, 4) * plan["largest_bytes"]
            return int(share * self.feature_bytes) + in_flight + _SLACK_BYTES

        names = ["outcrop planned", *(name for name in self.peers if name != "DGL in memory")]
        return [self._child(name, share, plan["name"], allowance(name)) for name in names]

    def _train(self, system: str, plan: Record) -> Record:
        print(f"{system}, with GraphSAGE ...", file=sys.stderr)
        epochs = 1 if self.arguments.small else 2
        return self._run_child(self._task(system, plan["share"], plan["name"], train=True, epochs=epochs))

    def _task(self, system: str, share: float, plan: str, **more: Any) -> Record:
        workload = {
            "folder": str(self.folder),
            "root": str(self.root),
            "scratch": str(self.scratch),
            "plan": plan,
            "fanouts": self.workload["fanouts"],
            "batch_size": self.workload["batch_size"],
            "cache_rows": int(share * self.workload["nodes"]),
        }
        return {"system": system, "workload": workload, "train": False, **more}

    def _child(self, system: str, share: float, plan: str, allowance_bytes: int | None) -> Record:
        print(f"{system}, {share:.0%} of the rows in memory ...", file=sys.stderr)
        mapped = system == "DGL memory-mapped"
        with contextlib.ExitStack() as stack:
            group = None if self.arguments.no_limit else stack.enter_context(cgroup.new_group())
            task = self._task(
                system,
                share,
                plan,
                group=None if group is None else str(group.folder),
                allowance_bytes=allowance_bytes,
                epochs=1 if mapped else self.arguments.epochs,
                batches=self.arguments.mapped_batches or None if mapped else None,
            )
            record = {**self._run_child(task), "share": share}
        seconds = ", ".join(f"{epoch['seconds']:.2f}" for epoch in record["epochs"])
        print(f"  epochs: {seconds} s", file=sys.stderr)
        return record

    def _run_child(self, task: Record) -> Record:
        command = [sys.executable, str(HERE / "child.py"), json.dumps(task)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found: Record = json.loads(output.splitlines()[-1])
        return found


if __name__ == "__main__":
    main()
