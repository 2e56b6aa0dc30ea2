"""What does a query cost from SSD, at which recall and memory: reads, bytes, device time, latency; beside faiss.

For each memory budget an index is built (or an earlier one reused), opened within that budget, and searched with
nothing cached and after a warm-up by other queries; see README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment
import ours
import peers
import report
from measure import Record
from workload import Dataset, Workload, load_dataset

from outcrop.store import format_bytes, parse_bytes

_SWEEP = "8MiB,16MiB,32MiB,64MiB"
_DATA = environment.ROOT.parent / "shared" / "data"


def main() -> None:
    """Parse, measure, print, write."""
    arguments = _parse()
    workload = Workload.load("generated").small() if arguments.small else Workload.load(arguments.workload)
    if not workload.is_there(arguments.data):
        print(f"{workload.name}: not found in {arguments.data}, so vectors are generated", file=sys.stderr)
        workload = Workload.load("generated")
    if arguments.recall:
        workload = replace(workload, recalls=tuple(float(recall) for recall in arguments.recall.split(",")))
    if arguments.queries:
        workload = replace(workload, num_queries=min(workload.num_queries, arguments.queries))
    with tempfile.TemporaryDirectory(prefix="outcrop-bench-") as temporary:
        scratch = Path(arguments.scratch or temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        _run(arguments, workload, scratch)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="sift-photos", help="a file of workloads/, without .toml")
    parser.add_argument(
        "--data", type=Path, default=_DATA, help="folder of the real sets; generated where it is absent"
    )
    parser.add_argument("--scratch", type=Path, help="folder on the device to measure; indexes there are used again")
    parser.add_argument("--memory", default="8MiB", help="budgets of search, by comma")
    parser.add_argument("--sweep", action="store_true", help=f"the same as --memory {_SWEEP}")
    parser.add_argument("--recall", help="recall targets, by comma, instead of the workload's")
    parser.add_argument("--queries", type=int, help="only the first so many")
    parser.add_argument("--threads", default="1,2", help="calling threads, by comma")
    parser.add_argument("--no-peers", action="store_true", help="leave faiss out")
    parser.add_argument("--rebuild", action="store_true", help="build again what --scratch holds")
    parser.add_argument("--small", action="store_true", help="seconds, on little: shows that it runs")
    parser.add_argument("--out", type=Path, help="folder for <workload>.json and <workload>-<dtype>.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, workload: Workload, scratch: Path) -> None:
    data = load_dataset(workload, arguments.data)
    budgets = [parse_bytes(size) for size in (_SWEEP if arguments.sweep else arguments.memory).split(",")]
    threads = sorted(int(n) for n in arguments.threads.split(","))
    builds: list[Record] = []
    records: list[Record] = []
    for dtype in workload.dtypes:
        typed = replace(data, base=np.asarray(data.base).astype(dtype, copy=False))
        for budget in budgets:
            size = "small-" if arguments.small else ""
            folder = scratch / f"{size}{workload.name}-{dtype}-{format_bytes(budget).replace(' ', '')}"
            builds.append(ours.build(folder, typed, dtype, budget, max(threads), arguments.rebuild))
            found = ours.measure(folder, typed, workload, budget, threads)
            records += [{"dtype": dtype, **record} for record in found]
    if not arguments.no_peers:
        records += _peers(data, workload, builds, scratch, threads)
    result = {
        "workload": workload.name,
        "vectors": [len(data.base), data.dim],
        "num_queries": len(data.queries),
        "cold": "O_DIRECT past the page cache, no list cache" if _direct(scratch) else "the page cache was in between",
        "environment": environment.describe(scratch, 0.0 if arguments.small else 2.0),
        "builds": builds,
        "records": records,
    }
    _show(arguments, result)


def _peers(data: Dataset, workload: Workload, builds: list[Record], scratch: Path, threads: list[int]) -> list[Record]:
    found = peers.measure(data, workload.k, builds[0]["num_centroids"], scratch, threads)
    return [{"dtype": workload.dtypes[0], **record} for record in found]


def _direct(scratch: Path) -> bool:
    """Whether the file system gives reads past the page cache."""
    try:
        with tempfile.NamedTemporaryFile(dir=scratch) as file:
            os.close(os.open(file.name, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def _show(arguments: argparse.Namespace, result: Record) -> None:
    name, records = result["workload"], result["records"]
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{name}: {result['vectors'][0]} x {result['vectors'][1]}, {result['num_queries']} queries")
        print(json.dumps({"cold": result["cold"], **result["environment"]}, indent=1))
        report.print_builds(result["builds"])
        for dtype in dict.fromkeys(record["dtype"] for record in records):
            print(f"\n{name}, {dtype}")
            report.print_table([record for record in records if record["dtype"] == dtype])
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        for dtype in dict.fromkeys(record["dtype"] for record in records):
            chosen = [record for record in records if record["dtype"] == dtype]
            if not report.plot(chosen, f"{name} {dtype}", arguments.out / f"{name}-{dtype}.png"):
                print("no plot: pip install 'outcrop[plot]' for matplotlib", file=sys.stderr)


if __name__ == "__main__":
    main()
