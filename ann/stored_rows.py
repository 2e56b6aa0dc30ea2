"""The stored vectors of a version, in the order of their rows: what exact searches and scans read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from outcrop import native
from outcrop.errors import CorruptFile
from outcrop.stop import Stop
from outcrop.store import StoredFile
from outcrop.types import AnyArray, Int64Array, UInt8Array

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


def stored_batches(
    index: "Index", batch_rows: int, start_row: int, stop: Stop | None
) -> Iterator[tuple[Int64Array, AnyArray]]:
    """Yield stored vectors from row `start_row` on: (ids int64 [n], vectors [n, dim] in the stored dtype), n being
    `batch_rows` until the last one. Arrays are new each time. Raises CorruptFile, and what `stop` raises."""
    spec, row = index.spec, start_row
    filled, ids, vectors = 0, np.empty(0, np.int64), np.empty((0, spec.dim), spec.dtype)
    for chunk in stored_chunks(index, stop, start_row):
        rows, at = chunk.rows.view(spec.dtype), 0
        if row + len(rows) > index.num_rows:
            raise _wrong_rows(index, f"{row + len(rows)} or more")
        while at < len(rows):
            if filled == len(ids):
                size = min(batch_rows, index.num_rows - row)
                filled, ids, vectors = 0, np.empty(size, np.int64), np.empty((size, spec.dim), spec.dtype)
            n = min(len(ids) - filled, len(rows) - at)
            ids[filled : filled + n], vectors[filled : filled + n] = chunk.ids[at : at + n], rows[at : at + n]
            filled, at, row = filled + n, at + n, row + n
            if filled == len(ids):
                yield ids, vectors
    if row != index.num_rows:
        raise _wrong_rows(index, str(row))


def _wrong_rows(index: "Index", found: str) -> CorruptFile:
    return CorruptFile(f"{index.file('postings.blk').path}: expected {index.num_rows} stored vectors, found {found}")


def stored_chunks(index: "Index", stop: Stop | None = None, start_row: int = 0) -> Iterator[Chunk]:
    """Yield stored vectors in row order, about 1 MiB at a time. Raises CorruptFile, and what `stop` raises."""
    return _from_lists(index, stop, start_row) if index.lossless else _from_vectors(index, stop, start_row)


def _from_lists(index: "Index", stop: Stop | None, start_row: int) -> Iterator[Chunk]:
    """The lists hold the vectors themselves: the primary entries of each, in list order."""
    offsets = index.directory.list_offsets.astype(np.int64)
    first = _list_of(index, start_row)
    skipped = start_row - index.first_row(first) if start_row else 0
    while first < index.directory.num_lists:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES, side="right")) - 1)
        data, usage = _read(index.file("postings.blk"), int(offsets[first]), int(offsets[last] - offsets[first]), stop)
        places = offsets[first : last + 1] - offsets[first]
        parts = [
            _primary_entries(index, number, data[begin:end])
            for number, begin, end in zip(range(first, last), places, places[1:], strict=False)
        ]
        ids, rows = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        yield Chunk(ids[skipped:], rows[skipped:], usage.reads, usage.bytes)
        first, skipped = last, max(0, skipped - len(ids))


def _list_of(index: "Index", row: int) -> int:
    """Return the list that holds a row: the last one that does not begin behind it."""
    first, last = 0, index.directory.num_lists - 1
    while row > 0 and first < last:
        middle = (first + last + 1) // 2
        first, last = (middle, last) if index.first_row(middle) <= row else (first, middle - 1)
    return first


def _primary_entries(index: "Index", number: int, data: UInt8Array) -> tuple[Int64Array, UInt8Array]:
    ids, _, num_primary, codes_at = index.entries(number, data)
    width = index.spec.row_bytes
    return ids[:num_primary], data[codes_at : codes_at + num_primary * width].reshape(num_primary, width)


def _from_vectors(index: "Index", stop: Stop | None, start_row: int) -> Iterator[Chunk]:
    width = index.spec.row_bytes
    step = max(1, _CHUNK_BYTES // width)
    for start in range(start_row, index.num_rows, step):
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
