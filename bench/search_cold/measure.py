"""Calls made from Python threads, each timed by itself."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

Record = dict[str, Any]


def timed_calls(call: Callable[[Any], Any], queries: Any, threads: int) -> tuple[list[Any], Record]:
    """Call `call(query)` for every query, from so many threads; return the answers in order, and QPS, p50 and p99."""
    answers: list[Any] = [None] * len(queries)
    latency_us = np.zeros(len(queries))
    next_query = itertools.count()
    errors: list[BaseException] = []

    def work() -> None:
        faiss.omp_set_num_threads(1)  # OpenMP keeps the number per thread
        try:
            while (number := next(next_query)) < len(queries):
                began = time.perf_counter()
                answers[number] = call(queries[number])
                latency_us[number] = (time.perf_counter() - began) * 1e6
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return answers, per_query(latency_us, len(queries) / (time.perf_counter() - began))


def per_query(latency_us: Any, qps: float) -> Record:
    """Return {qps, p50_us, p99_us}."""
    p50, p99 = np.percentile(latency_us, [50, 99])
    return {"qps": round(qps, 1), "p50_us": round(float(p50)), "p99_us": round(float(p99))}
