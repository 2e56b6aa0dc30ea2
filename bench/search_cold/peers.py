"""faiss on the same data in the same run: an inverted file on disk, cold, and what memory alone gives.

On disk: `OnDiskInvertedLists`, which maps its file. Before each query its pages are unmapped (madvise) and dropped from
the page cache (posix_fadvise), both outside the timing; the search then takes page faults, and faiss's own threads
touch its lists ahead of the scan. The sweep is run without the kernel's read-ahead (MADV_RANDOM), which fetches up to
megabytes around each fault; what it costs as it comes is measured once, at the effort that reaches 0.95.
One calling thread, since one thread's dropping would disturb another's search.
In memory, for orientation: the same inverted file and an HNSW graph, from as many threads as the others.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measure import Record, per_query, timed_calls
from workload import Dataset

_TRAINING_ITERATIONS = 6
_HNSW_LINKS = 16
_HNSW_CONSTRUCTION = 80
# The sweep of each peer ends at this recall.
_ENOUGH = 0.996
_NPROBES = (4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_EF_SEARCHES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768)
_MADV_NORMAL, _MADV_RANDOM, _MADV_DONTNEED = 0, 1, 4
# Of the queries, for the peer on disk, whose every query costs the dropping of its pages.
_MOST_ON_DISK = 500
_READ_AHEAD_AT = 0.95


def measure(data: Dataset, k: int, num_lists: int, folder: Path, threads: list[int]) -> list[Record]:
    """Return records of all peers. num_lists: of the inverted file, as many as Outcrop has centroids."""
    base, queries = _float32(data.base), _float32(data.queries)
    began = time.perf_counter()
    ivf = _inverted_file(data, num_lists)
    ivf.train(base)
    ivf.add(base)
    built = {"num_lists": num_lists, "build_seconds": round(time.perf_counter() - began, 1)}
    records = [built | record for record in _in_memory("faiss IVF in memory", ivf, data, queries, k, threads)]
    path = folder / "faiss.ivf"
    _move_to_disk(ivf, path)
    built |= {"disk_bytes": path.stat().st_size, "resident_bytes": num_lists * data.dim * 4}
    records += [built | record for record in _on_disk(ivf, path, data, queries, k)]
    path.unlink()
    began = time.perf_counter()
    graph = faiss.IndexHNSWSQ(data.dim, _quantizer(data), _HNSW_LINKS, _metric(data))
    graph.hnsw.efConstruction = _HNSW_CONSTRUCTION
    graph.train(base)
    graph.add(base)
    built = {"build_seconds": round(time.perf_counter() - began, 1)}
    return records + [built | record for record in _in_memory("faiss HNSW in memory", graph, data, queries, k, threads)]


def _inverted_file(data: Dataset, num_lists: int) -> Any:
    coarse = faiss.IndexFlat(data.dim, _metric(data))
    index = faiss.IndexIVFScalarQuantizer(coarse, data.dim, num_lists, _quantizer(data), _metric(data), False)
    index.own_fields = True
    coarse.this.disown()
    index.cp.niter = _TRAINING_ITERATIONS
    index.cp.min_points_per_centroid = 1
    return index


def _quantizer(data: Dataset) -> int:
    """Vectors are kept as they come: bytes, or 16-bit floats (also for float32, which would double faiss's reads)."""
    return int(faiss.ScalarQuantizer.QT_8bit_direct if data.base.dtype == np.uint8 else faiss.ScalarQuantizer.QT_fp16)


def _metric(data: Dataset) -> int:
    return int(faiss.METRIC_INNER_PRODUCT if data.metric == "cosine" else faiss.METRIC_L2)


def _float32(rows: Any) -> Any:
    return np.ascontiguousarray(rows, np.float32)


def _parameters(index: Any, effort: int) -> Any:
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=effort)
    return faiss.SearchParametersHNSW(efSearch=effort)


def _sweep(index: Any, run: Callable[[Any], tuple[float, list[Record]]]) -> list[Record]:
    """Call run(parameters) with ever more effort until nearly everything is found."""
    records: list[Record] = []
    efforts, most = (_NPROBES, index.nlist) if isinstance(index, faiss.IndexIVF) else (_EF_SEARCHES, index.ntotal)
    for effort in efforts:
        recall, found = run(_parameters(index, min(effort, most)))
        records += [{"effort": effort, **record} for record in found]
        if recall > _ENOUGH or effort >= most:
            break
    return records


def _in_memory(name: str, index: Any, data: Dataset, queries: Any, k: int, threads: list[int]) -> list[Record]:
    def run(parameters: Any) -> tuple[float, list[Record]]:
        records = []
        for n in threads:
            answers, timing = timed_calls(lambda query: index.search(query[None], k, params=parameters), queries, n)
            recall = data.recall(np.concatenate([ids for _, ids in answers]), 0, k)
            asked = {"system": name, "state": "memory", "calls": "one", "threads": n}
            records.append({**asked, "recall": recall, **timing})
        return recall, records

    return _sweep(index, run)


def _move_to_disk(index: Any, path: Path) -> None:
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(path))
    with _printing_to_stderr():  # faiss says that it resizes its file
        lists.merge_from_1(index.invlists)
    index.replace_invlists(lists, True)
    lists.this.disown()
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Send what C prints to standard output, where JSON may go, to standard error."""
    sys.stdout.flush()
    libc, kept = ctypes.CDLL(None), os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _on_disk(index: Any, path: Path, data: Dataset, queries: Any, k: int) -> list[Record]:
    faiss.omp_set_num_threads(1)
    queries = queries[:_MOST_ON_DISK]

    def run(parameters: Any) -> tuple[float, list[Record]]:
        recall, record = _measure_on_disk(index, path, data, queries, k, parameters)
        return recall, [{"system": "faiss IVF on disk", "reads": record["major_faults"], **record}]

    _advise(path, _MADV_RANDOM)
    records = _sweep(index, run)
    _advise(path, _MADV_NORMAL)
    effort = next((r["effort"] for r in records if r["recall"] >= _READ_AHEAD_AT), records[-1]["effort"])
    _, record = _measure_on_disk(index, path, data, queries, k, _parameters(index, effort))
    return [*records, {"system": "faiss IVF on disk, read-ahead", "effort": effort, **record}]


def _measure_on_disk(
    index: Any, path: Path, data: Dataset, queries: Any, k: int, parameters: Any
) -> tuple[float, Record]:
    ids, latency_us, num_bytes, faults = [], [], 0, 0
    for query in queries:
        _forget(path)
        bytes_before, faults_before = _bytes_read(), _major_faults()
        began = time.perf_counter()
        ids.append(index.search(query[None], k, params=parameters)[1])
        latency_us.append((time.perf_counter() - began) * 1e6)
        num_bytes += _bytes_read() - bytes_before
        faults += _major_faults() - faults_before
    n = len(queries)
    recall = data.recall(np.concatenate(ids), 0, k)
    cost = {"bytes": round(num_bytes / n), "pages": round(num_bytes / n / 4096), "major_faults": round(faults / n, 1)}
    timing = per_query(latency_us, 1e6 / float(np.mean(latency_us)))
    return recall, {"state": "cold", "calls": "one", "threads": 1, "recall": recall, **cost, **timing}


def _forget(path: Path) -> None:
    """Take the file out of this process's page tables and out of the page cache, which keeps mapped pages."""
    _advise(path, _MADV_DONTNEED)
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _advise(path: Path, advice: int) -> None:
    """Tell the kernel how this process's maps of the file are used."""
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), advice):
                raise OSError(ctypes.get_errno(), f"madvise {advice}")


def _bytes_read() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes"):
            return int(line.split()[1])
    return 0


def _major_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt
