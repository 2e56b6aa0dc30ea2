"""What does a plan cost: how long does it take to make, what is read and written, how large is it? See README.md.

Each plan is made by a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment

import outcrop
from outcrop import native
from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

HERE = Path(__file__).parent
PAGE = os.sysconf("SC_PAGE_SIZE")
Record = dict[str, Any]


def main() -> None:
    arguments = _parse()
    if arguments.child:
        print(json.dumps(make_plan(json.loads(arguments.child))))
        return
    workload = tomllib.loads((HERE / "workload.toml").read_text())
    small, more = workload.pop("small"), workload.pop("more")
    chosen = {**workload, **(small if arguments.small else more if arguments.more else {})}
    with tempfile.TemporaryDirectory(prefix="outcrop-bench-") as temporary:
        scratch = Path(arguments.scratch or temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        result = run(chosen, scratch)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "pack.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json else table(result))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="folder on the device to measure; what lies there is used again")
    parser.add_argument("--more", action="store_true", help="vary memory and epochs instead of the cache")
    parser.add_argument("--small", action="store_true", help="seconds, on little: shows that it runs")
    parser.add_argument("--out", type=Path, help="folder for pack.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(workload: Record, scratch: Path) -> Record:
    """Make and import the graph where it is missing, then each plan."""
    folder, root = scratch / f"graph-{workload['nodes']}", scratch / f"root-{workload['nodes']}"
    if not (folder / "graph.json").exists():  # written last
        shape = GraphShape(*(workload[name] for name in ("nodes", "degree", "dim", "classes", "seed")))
        make_graph(folder, shape, Split(train=workload["train_share"]))
    with outcrop.connect(root) as database:
        if "bench" not in database.graph_names():
            csc = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("indptr", "indices"))
            database.import_graph("bench", csc).wait()
        if "bench" not in database.feature_names():
            database.import_features("bench", np.load(folder / "features.npy", mmap_mode="r")).wait()
    feature_bytes = workload["nodes"] * workload["dim"] * 4
    records = []
    for share in workload["cache_shares"]:
        for memory in workload["pack_memories"]:
            for epochs in workload["epochs"]:
                task = {
                    "root": str(root),
                    "seeds": str(folder / "train_idx.npy"),
                    "fanouts": workload["fanouts"],
                    "batch_size": workload["batch_size"],
                    "share": share,
                    "cache_bytes": int(share * feature_bytes),
                    "pack_memory": memory,
                    "epochs": epochs,
                }
                print(f"cache {share:.0%}, memory {memory}, {epochs} epochs ...", file=sys.stderr)
                command = [sys.executable, str(HERE / "run.py"), "--child", json.dumps(task)]
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                records.append(json.loads(output.splitlines()[-1]))
    device = native.probe_device(str(max(root.rglob("*.blk"), key=lambda path: path.stat().st_size)), 2.0)
    return {
        "environment": environment.describe(root),
        "workload": workload,
        "feature_bytes": feature_bytes,
        "device": {"iops": device.iops, "sequential_bytes_per_s": device.sequential_bytes_per_s},
        "records": records,
    }


def make_plan(task: Record) -> Record:
    """Make one plan and drop it again; runs in a process of its own."""
    with outcrop.connect(task["root"]) as database:
        # The graph is held by whoever plans, as by whoever trains; what is measured is what comes on top of it.
        with database.graph("bench") as graph:
            graph_bytes = graph.statistics().memory_bytes
        before = _anonymous_bytes() + graph_bytes
        written = _device_bytes_written()
        peak = _Peak()
        began = time.perf_counter()
        manifest = database.create_plan(
            "pack",
            graph="bench",
            features="bench",
            seeds=np.load(task["seeds"]),
            fanouts=task["fanouts"],
            batch_size=task["batch_size"],
            epochs=task["epochs"],
            cache_memory=task["cache_bytes"],
            pack_memory=task["pack_memory"],
        ).wait()
        seconds = time.perf_counter() - began
        written = _device_bytes_written() - written
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        with database.plan("pack") as plan:
            report = plan.explain()
        database.drop_plan("pack")
    (stream,) = manifest.properties["streams"]
    cost = manifest.properties["cost"]
    return {
        **{name: task[name] for name in ("share", "pack_memory", "epochs")},
        "seconds": seconds,
        "cpu_seconds": cpu.ru_utime + cpu.ru_stime,
        "sample_seconds": cost["sample_seconds"],
        "schedule_seconds": cost["schedule_seconds"],
        "pack_seconds": cost["pack_seconds"],
        "accesses": stream["accesses"],
        "misses": stream["misses"],
        "log_bytes": stream["log_bytes"],
        "rows_read_bytes": cost["read_bytes"],
        "rows_written_bytes": cost["written_bytes"],
        "device_written_bytes": written,
        "temporary_bytes": cost["temporary_bytes"],
        "disk_bytes": report.disk_bytes,
        "disk_multiple": report.disk_multiple,
        "peak_bytes": peak.stop() - before,
    }


class _Peak:
    """The most private memory that the process holds, sampled; mapped files belong to the page cache."""

    def __init__(self) -> None:
        self._most = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._most

    def _run(self) -> None:
        while not self._stopped.wait(0.02):
            self._most = max(self._most, _anonymous_bytes())


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def _device_bytes_written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def table(result: Record) -> str:
    """Return the records as rows of a markdown table."""
    heads = (
        "cache", "memory", "epochs", "s", "sample", "schedule", "pack", "M rows wanted", "M missed", "rows read GB",
        "rows written GB", "all written GB", "disk x features", "pack GB/s", "peak MiB",
    )  # fmt: skip
    lines = [" | ".join(heads), " | ".join("---:" for _ in heads)]
    for r in result["records"]:
        moved = r["rows_read_bytes"] + r["rows_written_bytes"]
        cells = [f"{r['share']:.0%}", r["pack_memory"], str(r["epochs"])]
        cells += [f"{r[name]:.1f}" for name in ("seconds", "sample_seconds", "schedule_seconds", "pack_seconds")]
        cells += [f"{r[name] / 1e6:.2f}" for name in ("accesses", "misses")]
        cells += [f"{r[f'{name}_bytes'] / 1e9:.2f}" for name in ("rows_read", "rows_written", "device_written")]
        cells += [f"{r['disk_multiple']:.2f}", f"{moved / max(1e-9, r['pack_seconds']) / 1e9:.2f}"]
        cells.append(f"{r['peak_bytes'] / (1 << 20):.0f}")
        lines.append(" | ".join(cells))
    device = result["device"]["sequential_bytes_per_s"] / 1e9
    return "\n".join(f"| {line} |" for line in lines) + f"\n\nsequential reads of the device: {device:.2f} GB/s"


if __name__ == "__main__":
    main()
