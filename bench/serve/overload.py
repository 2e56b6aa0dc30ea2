"""Twice the sustainable load: what is admitted stays quick, the rest is refused at once, memory stays where it is.

First the sustainable rate is found, with 32 clients that each wait for their answers. Then calls arrive at twice that
rate for five minutes, and afterwards at half of it: within two seconds the server must be what it was.

A call has 64 queries, so that it is the engine that has too much to do. With `--queries 1` it is Python's event loop on
both sides: grpc.aio accepts one call each time around, and what it has not accepted no admission can refuse.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.environment import describe
from bench.serve.setting import Workload, prepare, run_load
from tests.serving import serving

Record = dict[str, Any]
# Bounds of what is shown. The p99 follows from the queue: calls that may work and wait, at the sustainable rate.
MOST_GROWTH_BYTES = 256 << 20
RECOVERY_SECONDS = 2.0
SHED = {"RESOURCE_EXHAUSTED"}
# What a generator that is itself late may add to latencies on a machine that it shares with the server.
SLACK_SECONDS = 1.0


class Memory:
    """The resident memory of a process, looked at while a block runs."""

    def __init__(self, process: int) -> None:
        self._path = Path(f"/proc/{process}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most_bytes = self.now()

    def now(self) -> int:
        """Return what it is."""
        lines = self._path.read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self.most_bytes = max(self.most_bytes, self.now())

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def measure(address: str, process: int, requests: Path, seconds: float, limits: Record) -> Record:
    """Return what the three loads found, and what is wrong with it."""
    load = {"address": address, "requests": requests}
    sustainable = run_load(**load, mode="closed", clients=32, seconds=min(10.0, seconds), warm_seconds=1.0)
    rate = sustainable["calls_per_second"]
    before = Memory(process).now()
    with Memory(process) as memory:
        over = run_load(**load, mode="open", rate=2 * rate, seconds=seconds, warm_seconds=1.0, deadline_seconds=30.0)
        ended = time.monotonic()
        after = _recovered(load, rate / 2, ended)
    found = {
        "sustainable_per_second": rate,
        "offered_per_second": 2 * rate,
        "calm": _kept(sustainable),
        "overload": _kept(over),
        "afterwards": _kept(after),
        "resident_before_bytes": before,
        "resident_most_bytes": memory.most_bytes,
        "limits": limits,
    }
    found["failures"] = list(_failures(found))
    return found


def _recovered(load: Record, rate: float, ended: float) -> Record:
    """The first half second in which nothing is refused any more, and how long it took to come to it."""
    while True:
        begun = time.monotonic() - ended
        found = run_load(**load, mode="open", rate=rate, seconds=0.5, warm_seconds=0.0)
        if set(found["codes"]) == {"OK"} or begun > 10 * RECOVERY_SECONDS:
            return found | {"begun_after_seconds": begun}


def _kept(found: Record) -> Record:
    names = ("calls_per_second", "codes", "p50_ms", "p95_ms", "p99_ms", "not_sent", "begun_after_seconds")
    return {name: found[name] for name in names if name in found}


def _failures(found: Record) -> Any:
    over, limits = found["overload"], found["limits"]
    others = set(over["codes"]) - {"OK"} - SHED
    if others:
        yield f"statuses under overload: expected OK and {SHED}, found {others}"
    bound = (limits["calls"] + limits["queue"]) / found["sustainable_per_second"] * 2 + SLACK_SECONDS
    if over["p99_ms"] > 1e3 * bound:
        yield f"p99 of what was admitted: expected at most {1e3 * bound:.0f} ms, found {over['p99_ms']:.0f}"
    growth = found["resident_most_bytes"] - found["resident_before_bytes"]
    if growth > MOST_GROWTH_BYTES:
        yield f"resident memory: expected to grow by at most {MOST_GROWTH_BYTES} bytes, found {growth}"
    if set(found["afterwards"]["codes"]) != {"OK"}:
        yield f"afterwards: expected only OK, found {found['afterwards']['codes']}"
    # The generator takes a moment to start, which is no fault of the server's: it counts all the same.
    if found["afterwards"]["begun_after_seconds"] > RECOVERY_SECONDS:
        yield f"recovery: expected within {RECOVERY_SECONDS} s, found {found['afterwards']['begun_after_seconds']:.1f}"


def main() -> None:
    """Parse, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="a file of real vectors; generated ones without it")
    parser.add_argument("--root", type=Path, help="where the root is made; used again")
    parser.add_argument("--memory", default="32MiB", help="of the collection")
    parser.add_argument("--queries", type=int, default=64, help="in a call")
    parser.add_argument("--seconds", type=float, help="of overload [default: 300]")
    parser.add_argument("--small", action="store_true", help="seconds, on little, with a short queue")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    limits = {"calls": 8, "queue": 16} if arguments.small else {"calls": 64, "queue": 256}
    seconds = arguments.seconds or (3.0 if arguments.small else 300.0)
    with tempfile.TemporaryDirectory(prefix="outcrop-overload-") as temporary:
        root = arguments.root or Path(temporary) / "root"
        served = prepare(Workload.load(arguments.small), root, arguments.vectors, arguments.memory)
        requests = served.write_requests(Path(temporary) / "requests.npy", arguments.queries)
        with serving(root, memory=arguments.memory, limits=limits) as server:
            found = measure(server.address, server.process.pid, requests, seconds, limits)
        found |= {"queries_per_call": arguments.queries, "environment": describe(root)}
    print(json.dumps(found, indent=None if arguments.json else 1))
    sys.exit(1 if found["failures"] and not arguments.small else 0)


if __name__ == "__main__":
    main()
