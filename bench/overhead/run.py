"""What does a call cost beside the work of the core? In microseconds per call, of the fastest rounds.

One thread, everything in memory, so that no device blurs it. `rest` is what Python and NumPy take around faiss and the
core: what a server pays for each call on top of them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it when it is imported.

import numpy as np

import outcrop
from outcrop.embedded import Collection, Database
from outcrop.stop import Stop

WORKLOAD = Path(__file__).with_name("workload.json")
SMALL = {"num_vectors": 400, "dim": 8, "num_clusters": 8, "num_feature_rows": 400, "feature_dim": 8}


class Clock:
    """Stands in front of an object and adds up the seconds that its methods `names` take."""

    def __init__(self, target: Any, *names: str) -> None:
        self._target, self._names, self.seconds = target, names, 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._timed(found) if name in self._names else found

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


def fastest_us(call: Callable[[int], object], rounds: int, calls: int) -> float:
    """Microseconds per call in the fastest of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for number in range(calls):
            call(number)
        best = min(best, time.perf_counter() - begin)
    return best / calls * 1e6


def make(folder: Path, workload: dict[str, int]) -> tuple[Database, np.ndarray]:
    """A database with one collection and one table, and queries float32 [n, dim]."""
    random = np.random.default_rng(0)
    centers = 10 * random.normal(size=(workload["num_clusters"], workload["dim"]))
    rows = centers[random.integers(0, len(centers), workload["num_vectors"])]
    vectors = (rows + random.normal(size=rows.shape)).astype(np.float32)
    database = outcrop.connect(folder, memory="512MiB", threads=1, reader="memory")
    database.create_collection("docs", dim=workload["dim"]).build(vectors).wait()
    shape = (workload["num_feature_rows"], workload["feature_dim"])
    database.import_features("rows", random.normal(size=shape).astype(np.float32)).wait()
    return database, vectors[random.integers(0, len(vectors), 4096)] + np.float32(0.1)


def search_parts(collection: Collection, queries: np.ndarray, batch: int, rounds: int, calls: int) -> dict[str, float]:
    """What a search of `batch` queries takes: of the round in which the rest was least."""
    index = collection.open()
    core, centroids = Clock(index._core, "search"), Clock(index.centroids, "search")
    plain = index._core, index.centroids
    index._core, index.centroids = core, centroids  # type: ignore[assignment]
    batches = [queries[at : at + batch] for at in range(0, calls * batch, batch)]
    best: dict[str, float] = {"rest": float("inf")}
    for _ in range(rounds):
        core.seconds = centroids.seconds = 0.0
        begin = time.perf_counter()
        for part in batches:
            collection.search(part, 10)
        total = time.perf_counter() - begin
        found = {"total": total, "core": core.seconds, "centroids": centroids.seconds}
        found["rest"] = total - core.seconds - centroids.seconds
        best = min(best, found, key=lambda parts: parts["rest"])
    index._core, index.centroids = plain
    return {name: seconds / calls * 1e6 for name, seconds in best.items()}


def measure(folder: Path, workload: dict[str, int]) -> dict[str, Any]:
    """Return all figures, in microseconds per call."""
    rounds, calls = workload["rounds"], workload["calls_per_round"]
    database, queries = make(folder, workload)
    collection, stop = database.collection("docs"), Stop(3600)
    with database, database.features("rows") as table:
        ids = [np.sort(np.random.default_rng(n).integers(0, table.num_rows, 100)) for n in range(calls)]
        calls_us = {
            "Database.collection": lambda _: database.collection("docs"),
            "Collection.is_current": lambda _: collection.is_current(),
            "Collection.info": lambda _: collection.info(),
            "Collection.search, 1 query": lambda n: collection.search(queries[n], 10),
            "Collection.search, 1 query, with a Stop": lambda n: collection.search(queries[n], 10, stop=stop),
            "FeatureTable.fetch, 1 row": lambda n: table.fetch(ids[n][:1]),
            "FeatureTable.fetch, 100 rows": lambda n: table.fetch(ids[n]),
            "FeatureTable.fetch, 100 rows, with a Stop": lambda n: table.fetch(ids[n], stop=stop),
        }
        return {
            "searches": {str(batch): search_parts(collection, queries, batch, rounds, calls) for batch in (1, 8, 64)},
            "calls_us": {name: fastest_us(call, rounds, calls) for name, call in calls_us.items()},
        }


def print_tables(found: dict[str, Any]) -> None:
    print("| queries in the call | total | core | centroids | rest |\n|---|---|---|---|---|")
    for batch, parts in found["searches"].items():
        cells = " | ".join(f"{parts[name]:.1f}" for name in ("total", "core", "centroids", "rest"))
        print(f"| {batch} | {cells} |")
    print("\n| call | us |\n|---|---|")
    for name, taken in found["calls_us"].items():
        print(f"| {name} | {taken:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the same calls on few rows: shows that they run")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    arguments = parser.parse_args()
    workload = json.loads(WORKLOAD.read_text())
    if arguments.small:
        workload |= SMALL | {"rounds": 2, "calls_per_round": 2}
    with tempfile.TemporaryDirectory(prefix="outcrop-overhead-") as folder:
        found = measure(Path(folder), workload)
    print(json.dumps(found)) if arguments.json else print_tables(found)


if __name__ == "__main__":
    main()
