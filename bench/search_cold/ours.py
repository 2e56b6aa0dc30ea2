"""Outcrop: an index per memory budget, searched with nothing cached and with a cache that has seen other queries."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environment
import numpy as np
from measure import Record, per_query, timed_calls
from workload import Dataset, Workload

import outcrop
from outcrop.ann import CollectionSpec, Index
from outcrop.store import Accountant, Root, StorageReader

_COLLECTION = "bench"
_BUILD_MEMORY = "512MiB"


def build(folder: Path, data: Dataset, dtype: str, memory_bytes: int, threads: int, again: bool) -> Record:
    """Build the index for this search budget in `folder`, or take the one that is there; return what it is."""
    note = folder / "bench.json"
    if again or not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        began = time.perf_counter()
        with outcrop.connect(folder, threads=threads) as database:
            vectors = database.create_collection(_COLLECTION, dim=data.dim, metric=data.metric, dtype=dtype)
            job = vectors.build(data.base, memory=_BUILD_MEMORY, search_memory=memory_bytes, threads=threads)
            job.wait(progress=True)
        seconds = round(time.perf_counter() - began, 1)
        note.write_text(json.dumps({"build_seconds": seconds, "commit": environment.commit()}))
    with outcrop.connect(folder, read_only=True) as database:
        info = database.collection(_COLLECTION).info()
    p = info.properties
    return {
        "memory_bytes": memory_bytes,
        "dtype": dtype,
        "code": p["code"],
        "num_centroids": p["num_centroids"],
        "copy_rule": p["copy_rule"],
        "entries_per_vector": round(p["num_entries"] / p["num_rows"], 2),
        "disk_bytes": info.disk_bytes,
        "disk_multiple": round(info.disk_bytes / p["raw_bytes"], 2),
        **json.loads(note.read_text()),
    }


@contextmanager
def opened(folder: Path, memory_bytes: int, threads: int, cache: bool) -> Iterator[Index]:
    """Open the index within the budget. cache: False leaves out the list cache alone, so every list is read."""
    with Root.open(folder, read_only=True) as root:
        record = root.get("collections", _COLLECTION)
        memory = Accountant(memory_bytes)
        with (
            root.open_version(record.id) as lease,
            StorageReader(memory, buffer_bytes=max(64 << 10, min(1 << 20, memory_bytes // 32))) as reader,
        ):
            files = {entry.name: entry for entry in lease.manifest.files}
            spec = CollectionSpec.from_json(record.spec)
            with Index(spec, lease.manifest.properties, files, lease.folder, reader, threads, cache) as index:
                yield index


def measure(folder: Path, data: Dataset, workload: Workload, memory_bytes: int, threads: list[int]) -> list[Record]:
    """Return a record for each recall asked, state of the cache, kind of call and number of threads."""
    records = []
    for state in ("cold", "warm"):
        with opened(folder, memory_bytes, max(threads), cache=state == "warm") as index:
            held = {"centroid_bytes": index.statistics().centroid_bytes}
            for recall in workload.recalls:
                for calls in ("one", "batch"):
                    for n in threads:
                        found = _measure(index, data, workload.k, recall, state, calls, n)
                        asked = {"memory_bytes": memory_bytes, "state": state, "calls": calls, "threads": n}
                        records.append({"system": "outcrop", **asked, "asked_recall": recall, **held, **found})
    return records


def _measure(index: Index, data: Dataset, k: int, recall: float, state: str, calls: str, threads: int) -> Record:
    # The first half warms the cache; the queries that are measured are others. Cold runs measure all.
    first = 0
    if state == "warm":
        first = len(data.queries) // 2
        index.clear_cache()
        for query in data.queries[:first]:
            index.search(query, k, recall=recall, threads=1)
    queries = data.queries[first:]
    run = _one_by_one if calls == "one" else _batch
    ids, usage, timing = run(index, queries, k, recall, threads)
    return {"recall": data.recall(ids, first, k), **usage, **timing}


def _one_by_one(index: Index, queries: Any, k: int, recall: float, threads: int) -> tuple[Any, Record, Record]:
    answers, timing = timed_calls(lambda query: index.search(query, k, recall=recall, threads=1), queries, threads)
    ids = np.concatenate([np.asarray(answer.ids) for answer in answers])
    return ids, _mean_usage([answer.usage for answer in answers]), timing


def _batch(index: Index, queries: Any, k: int, recall: float, threads: int) -> tuple[Any, Record, Record]:
    began = time.perf_counter()
    answer = index.search(queries, k, recall=recall, threads=threads)
    seconds = time.perf_counter() - began
    return np.asarray(answer.ids), _mean_usage([answer.usage]), per_query(answer.latency_us, len(queries) / seconds)


def _mean_usage(usages: list[outcrop.SearchUsage]) -> Record:
    n = sum(usage.queries for usage in usages)
    names = ("reads", "bytes", "pages", "lists", "cache_hits", "reranked", "device_us", "centroid_us")
    return {name: round(sum(getattr(usage, name) for usage in usages) / n, 2) for name in names}
