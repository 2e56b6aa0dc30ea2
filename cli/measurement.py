"""Measuring searches as a client would see them: one query per call, from several threads at once."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from outcrop.cli.truth import Truth
from outcrop.datasets.vectors import Vectors
from outcrop.embedded import Collection as Embedded
from outcrop.types import Neighbors

if TYPE_CHECKING:
    from outcrop.cli.place import Collection

_WARM_UP_PASSES = 2
_WARM_UP_QUERIES = 1024  # of a call, which a server limits


@dataclass(frozen=True, slots=True)
class Knob:
    """What is asked of a search: a recall or a number of posting lists."""

    recall: float | None = None
    nprobe: int | None = None

    def __str__(self) -> str:
        return f"recall {self.recall:g}" if self.recall is not None else f"nprobe {self.nprobe}"

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `Collection.search`."""
        return {"recall": self.recall, "nprobe": self.nprobe}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What searches with one knob gave and cost.

    cache: cold (there is none) or warm (after all queries have been searched). recall: mean, tolerant of
    ties where the true distances are known. p50_us, p99_us: of one call, as the caller sees it. The rest is the mean
    per query; engine_us: in the core, so that what is left of a call is the way there and back.
    """

    asked: str
    threads: int
    cache: str
    num_queries: int
    recall: float
    qps: float
    p50_us: float
    p99_us: float
    engine_us: float
    reads: float
    bytes: float
    device_us: float
    lists: float
    cache_hits: float


def measure(
    collection: "Collection", queries: Vectors, truth: Truth, k: int, knob: Knob, threads: int, cache: str
) -> Measurement:
    """Search every query in a call of its own, from `threads` threads, and return what was measured.

    cache: "cold" for a collection opened without a cache of lists, or "warm".
    """
    if isinstance(collection, Embedded):
        collection.clear_cache()
    if cache == "warm":
        for start in [*range(0, len(queries), _WARM_UP_QUERIES)] * _WARM_UP_PASSES:
            collection.search(queries[start : start + _WARM_UP_QUERIES], k, **knob.arguments(), share_reads=False)
    found, latencies_us, seconds = _search_one_by_one(collection, queries, k, knob, threads)
    recall = np.concatenate([_recall(truth, each, n) for n, each in enumerate(found)])
    total = {name: sum(getattr(each.usage, of) for each in found) / len(found) for name, of in _COSTS.items()}
    p50, p99 = np.percentile(latencies_us, [50, 99])
    return Measurement(
        str(knob),
        threads,
        cache,
        len(found),
        float(recall.mean()),
        len(found) / seconds,
        float(p50),
        float(p99),
        **total,
    )


# Fields of a measurement, and of `SearchUsage`.
_COSTS = {
    "engine_us": "elapsed_us",
    "reads": "reads",
    "bytes": "bytes",
    "device_us": "device_us",
    "lists": "lists",
    "cache_hits": "cache_hits",
}


def _recall(truth: Truth, found: Neighbors, query: int) -> Any:
    ids = None if truth.ids is None else truth.ids[query : query + 1]
    distances = None if truth.distances is None else truth.distances[query : query + 1]
    return Truth(ids, distances, truth.kind).recall(found)


def _search_one_by_one(
    collection: "Collection", queries: Vectors, k: int, knob: Knob, threads: int
) -> tuple[list[Neighbors], Any, float]:
    found: list[Neighbors | None] = [None] * len(queries)
    latencies_us = np.empty(len(queries))
    numbers, lock = itertools.count(), threading.Lock()
    arguments = knob.arguments() | ({"threads": 1} if isinstance(collection, Embedded) else {})

    def work() -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= len(queries):
                return
            began = time.perf_counter()
            found[number] = collection.search(queries[number], k, **arguments, share_reads=False)
            latencies_us[number] = (time.perf_counter() - began) * 1e6

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for worker in [pool.submit(work) for _ in range(threads)]:
            worker.result()
    seconds = time.perf_counter() - began
    return [each for each in found if each is not None], latencies_us, seconds
