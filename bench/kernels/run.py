"""How fast do the scan kernels read rows, for each instruction set, beside NumPy and faiss on the same rows?

One thread. A figure is the best of several timings, in GB of row bytes per second (1 GB = 10^9 bytes); `cached` rows
fit the second-level cache, `uncached` ones fit no cache.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it when it is imported.

import faiss
import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument

WORKLOAD = Path(__file__).with_name("workload.json")
DTYPES: dict[str, tuple[Any, Any]] = {
    "u8 x u8": (np.uint8, np.uint8),
    "i8 x i8": (np.int8, np.int8),
    "f32 x f32": (np.float32, np.float32),
    "f32 x f16": (np.float32, np.float16),
    "f32 x u8": (np.float32, np.uint8),
}
METRICS = ["l2", "ip"]
Timed = Callable[[], object]
Record = dict[str, Any]


def best_seconds(call: Timed, seconds: float) -> float:
    """The fastest of the calls made within the given seconds, at least three."""
    best, end, calls = float("inf"), time.perf_counter() + seconds, 0
    while calls < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        calls += 1
    return best


def available_isas() -> list[str]:
    names = []
    for name in ("scalar", "avx2", "avx512"):
        try:
            native.distances(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), "l2", name)
        except InvalidArgument:
            continue
        names.append(name)
    return names


def numpy_scan(query: Any, rows: Any, metric: str) -> Timed:
    """What one writes without a kernel. Integers are widened, as they must be for the right result."""
    wide = np.int32 if np.issubdtype(query.dtype, np.integer) else np.float32
    if metric == "ip":
        return lambda: -(rows.astype(wide, copy=False) @ query.astype(wide))

    def scan() -> Any:
        difference = rows.astype(wide, copy=False) - query.astype(wide)
        return np.einsum("ij,ij->i", difference, difference)

    return scan


def faiss_scan(query: Any, rows: Any, metric: str) -> Timed | None:
    if rows.dtype != np.float32:
        return None
    name = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    return lambda: faiss.pairwise_distances(query[None], rows, metric=name)


def faiss_codes_scan(query: Any, rows: Any, metric: str) -> Timed:
    """A search of faiss's own 8-bit codes for one neighbour: it has no call that returns all distances."""
    name = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, name)
    index.train(rows[:1000])
    index.add(rows)
    return lambda: index.search(query[None], 1)


def plain_calls(kernel: str, dim: int, metric: str, size: int, seed: int) -> dict[str, Timed | None]:
    query_dtype, dtype = DTYPES[kernel]
    rng = np.random.default_rng(seed)
    num_rows = max(1, size // (dim * np.dtype(dtype).itemsize))
    rows = rng.integers(0, 128, (num_rows, dim), np.uint8).astype(dtype)
    query = rng.integers(0, 128, dim, np.uint8).astype(query_dtype)
    calls: dict[str, Timed | None] = {
        isa: lambda isa=isa: native.distances(query, rows, metric, isa)  # type: ignore[misc]
        for isa in available_isas()
    }
    return calls | {"numpy": numpy_scan(query, rows, metric), "faiss": faiss_scan(query, rows, metric)}


def code_calls(dim: int, metric: str, size: int, seed: int) -> dict[str, Timed | None]:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (max(1, size // dim), dim), np.uint8)
    code = native.Sq8(np.zeros(dim, np.float32), np.full(dim, 1 / 255, np.float32))
    query = rng.random(dim, np.float32)
    step, lower = code.step, code.lower
    calls: dict[str, Timed | None] = {
        isa: lambda isa=isa: code.distances(query, codes, metric, isa)  # type: ignore[misc]
        for isa in available_isas()
    }
    calls["numpy"] = lambda: numpy_scan(query, lower + step * codes, metric)()
    # faiss wants the float rows, four times the bytes: only where they are few.
    calls["faiss"] = faiss_codes_scan(query, code.decode(codes), metric) if size <= 1 << 24 else None
    return calls


def scans(workload: Record, seconds: float) -> Iterator[Record]:
    for place in ("cached", "uncached"):
        size = workload[f"{place}_bytes"]
        for scan in workload["scans"]:
            for dim in scan["dims"]:
                for metric in METRICS:
                    kernel, seed = scan["kernel"], workload["seed"]
                    calls = (
                        code_calls(dim, metric, size, seed)
                        if kernel == "sq8"
                        else plain_calls(kernel, dim, metric, size, seed)
                    )
                    speeds = {
                        name: None if call is None else round(size / best_seconds(call, seconds) / 1e9, 2)
                        for name, call in calls.items()
                    }
                    yield {"rows": place, "kernel": kernel, "dim": dim, "metric": metric, "gb_per_s": speeds}


def selections(workload: Record, seconds: float) -> Iterator[Record]:
    """Nanoseconds for each entry offered to a top-k selection, a third of the ids being copies, beside NumPy's
    argpartition, which knows no copies."""
    num_entries = workload["top_k"]["num_entries"]
    rng = np.random.default_rng(workload["seed"])
    distances = rng.random(num_entries, np.float32)
    ids = rng.integers(0, num_entries, num_entries)
    for k in workload["top_k"]["ks"]:
        top_k = best_seconds(lambda k=k: native.top_k(distances, ids, k), seconds)  # type: ignore[misc]
        numpy = best_seconds(lambda k=k: np.argpartition(distances, k - 1)[:k], seconds)  # type: ignore[misc]
        yield {"k": k, "ns_per_entry": {"top_k": top_k / num_entries * 1e9, "numpy": numpy / num_entries * 1e9}}


def shrink(workload: Record) -> Record:
    """The same cases on so few bytes that all of them together take seconds; the figures then mean nothing."""
    return {
        **workload,
        "cached_bytes": 1 << 14,
        "uncached_bytes": 1 << 15,
        "top_k": {"num_entries": 20000, "ks": workload["top_k"]["ks"]},
    }


def print_tables(found: Record) -> None:
    names = [*available_isas(), "numpy", "faiss"]
    print("| rows | kernel | dim | metric | " + " | ".join(names) + " |")
    print("|---" * (4 + len(names)) + "|")
    for scan in found["scans"]:
        speeds = [scan["gb_per_s"][name] for name in names]
        cells = ["" if speed is None else f"{speed:.1f}" for speed in speeds]
        print(f"| {scan['rows']} | {scan['kernel']} | {scan['dim']} | {scan['metric']} | " + " | ".join(cells) + " |")
    print("\n| k | top_k, ns per entry | numpy argpartition |\n|---|---|---|")
    for selection in found["top_k"]:
        times = selection["ns_per_entry"]
        print(f"| {selection['k']} | {times['top_k']:.2f} | {times['numpy']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the same cases on few bytes: shows that they run")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    workload = json.loads(WORKLOAD.read_text())
    seconds = 0.0 if arguments.small else 0.3
    if arguments.small:
        workload = shrink(workload)
    found = {"scans": list(scans(workload, seconds)), "top_k": list(selections(workload, seconds))}
    if arguments.json:
        print(json.dumps(found))
    else:
        print_tables(found)


if __name__ == "__main__":
    main()
