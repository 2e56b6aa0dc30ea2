"""Exact search: every stored vector is streamed from disk once and compared with all queries."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outcrop import native
from outcrop.stop import Stop, words_of
from outcrop.store import StoredFile
from outcrop.types import Float32Array, Int64Array, Neighbors, SearchUsage, UInt8Array

if TYPE_CHECKING:
    from outcrop.ann.index import Index

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Stored vectors in row order: ids int64 [n], rows uint8 [n, row_bytes]; what reading them took of the device."""

    ids: Int64Array
    rows: UInt8Array
    reads: int
    bytes: int


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


def stored_chunks(index: "Index", stop: Stop | None = None) -> Iterator[Chunk]:
    """Yield all stored vectors, in row order, about 1 MiB at a time. Raises CorruptFile, and what `stop` raises."""
    return _from_lists(index, stop) if index.lossless else _from_vectors(index, stop)


def _from_lists(index: "Index", stop: Stop | None) -> Iterator[Chunk]:
    """The lists hold the vectors themselves: the primary entries of each, in list order."""
    offsets = index.directory.list_offsets.astype(np.int64)
    first = 0
    while first < index.directory.num_lists:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES, side="right")) - 1)
        data, usage = _read(index.file("postings.blk"), int(offsets[first]), int(offsets[last] - offsets[first]), stop)
        places = offsets[first : last + 1] - offsets[first]
        parts = [
            _primary_entries(index, number, data[begin:end])
            for number, begin, end in zip(range(first, last), places, places[1:], strict=False)
        ]
        ids, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        yield Chunk(ids, rows, usage.reads, usage.bytes)
        first = last


def _primary_entries(index: "Index", number: int, data: UInt8Array) -> tuple[Int64Array, UInt8Array]:
    ids, _, num_primary, codes_at = index.entries(number, data)
    width = index.spec.row_bytes
    return ids[:num_primary], data[codes_at : codes_at + num_primary * width].reshape(num_primary, width)


def _from_vectors(index: "Index", stop: Stop | None) -> Iterator[Chunk]:
    width = index.spec.row_bytes
    step = max(1, _CHUNK_BYTES // width)
    for start in range(0, index.num_rows, step):
        count = min(step, index.num_rows - start)
        rows, usage = _read(index.file("vectors.blk"), start * width, count * width, stop)
        ids, id_usage = _read(index.file("row_ids.blk"), start * 8, count * 8, stop)
        reads, num_bytes = usage.reads + id_usage.reads, usage.bytes + id_usage.bytes
        yield Chunk(ids.view(np.int64), rows.reshape(count, width), reads, num_bytes)


def _read(
    file: StoredFile, offset_bytes: int, length_bytes: int, stop: Stop | None
) -> tuple[UInt8Array, native.ReadUsage]:
    out = np.empty(length_bytes, np.uint8)
    return out, file.read_ranges(np.array([offset_bytes]), np.array([length_bytes]), out, stop=stop)
