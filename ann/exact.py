"""Exact search: every stored vector is streamed from disk once and compared with all queries."""

import time
from typing import TYPE_CHECKING

import numpy as np

from outcrop import native
from outcrop.ann.stored_rows import stored_chunks
from outcrop.stop import Stop, words_of
from outcrop.types import Float32Array, Neighbors, SearchUsage, UInt8Array

if TYPE_CHECKING:
    from outcrop.ann.index import Index


def search_exact(
    index: "Index", floats: Float32Array, typed: UInt8Array | None, k: int, threads: int, stop: Stop | None = None
) -> Neighbors:
    """Return the k nearest of all stored vectors. floats, typed: queries as `edge.query_rows` makes them."""
    began = time.perf_counter()
    scan = native.ExactScan(index.spec.dtype, index.spec.core_metric, floats, typed, k)
    reads = num_bytes = 0
    for chunk in stored_chunks(index, stop):
        scan.push(chunk.rows, chunk.ids, threads, words_of(stop))
        reads, num_bytes = reads + chunk.reads, num_bytes + chunk.bytes
    ids = np.empty((len(floats), k), np.int64)
    found = np.empty((len(floats), k), np.float32)
    scan.result(ids, found)
    if index.spec.metric == "cosine":
        found += 1
    elapsed_us = (time.perf_counter() - began) * 1e6
    usage = SearchUsage(
        queries=len(floats),
        reads=reads,
        bytes=num_bytes,
        lists=index.directory.num_lists,
        cache_hits=0,
        skipped=0,
        distances=index.num_rows * len(floats),
        reranked=0,
        waves=1,
        device_us=num_bytes * index.device.byte_cost_us,
        centroid_us=0.0,
        elapsed_us=elapsed_us,
    )
    return Neighbors(ids, found, usage, True, np.full(len(floats), elapsed_us / max(1, len(floats)), np.float32))
