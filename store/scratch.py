"""Scratch files of a build: records sorted by partition, written in whole chunks, so that a killed build resumes behind
the last chunk. An external distribution sort: memory for one chunk, one sequential write, one read per partition and
chunk.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from outcrop.types import AnyArray, Int64Array

# A batch of vectors becomes float32 on its way, which is four times as much for bytes.
_MOST_BATCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the records: `width` items of `dtype` each (0: one scalar)."""

    name: str
    dtype: str
    width: int = 0

    @property
    def item_bytes(self) -> int:
        """Bytes of one record's share."""
        return int(np.dtype(self.dtype).itemsize) * max(1, self.width)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by a file that holds `data`, durably: after a crash it is the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save_array(path: Path, array: AnyArray) -> None:
    """Like `write_atomically`, for a `.npy` file."""
    _save_durably(path, lambda file: np.save(file, array))


def save_arrays(path: Path, **arrays: Any) -> None:
    """Like `write_atomically`, for a `.npz` file."""
    _save_durably(path, lambda file: np.savez(file, **arrays))


def _save_durably(path: Path, save: Callable[[BinaryIO], None]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        save(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class SortedRuns:
    """Records distributed to partitions, in chunks.

    A chunk `NNNNN.run` holds, for each field, the values of all its records sorted by partition; `NNNNN.json`, written
    when the chunk is durable, says how many records each partition has and carries the writer's own mark (how far its
    input is read); `mark` is the last one, None at first: it tells where to resume. The order of records within a
    partition is the order of appending.
    """

    def __init__(self, folder: Path, fields: Sequence[Field], num_partitions: int, chunk_bytes: int) -> None:
        """Open or create `folder`. chunk_bytes: records held before a chunk is written; sorting needs as much again."""
        self.folder = folder
        self.fields = tuple(fields)
        self.num_partitions = num_partitions
        self._record_bytes = sum(field.item_bytes for field in fields) + 4
        self._chunk_records = max(1, chunk_bytes // self._record_bytes)
        self._pending: list[tuple[AnyArray, ...]] = []
        self._num_pending = 0
        self._counts: list[Int64Array] = []
        self.mark: Any = None
        folder.mkdir(exist_ok=True)
        self._load()

    def append(self, partitions: AnyArray, columns: Sequence[AnyArray], mark: Any) -> None:
        """Add records: partitions [n], and one array [n] or [n, width] per field. mark: JSON that says
        where to resume after them."""
        assert len(columns) == len(self.fields)
        self._pending.append((partitions.astype(np.int32), *columns))
        self._num_pending += len(partitions)
        self._pending_mark = mark
        if self._num_pending >= self._chunk_records:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as a chunk, durably."""
        if not self._num_pending:
            return
        partitions = np.concatenate([chunk[0] for chunk in self._pending])
        order = np.argsort(partitions, kind="stable")
        number = len(self._counts)
        with self._path(number).open("wb") as file:
            for column in range(1, len(self.fields) + 1):
                values = np.concatenate([chunk[column] for chunk in self._pending])
                np.ascontiguousarray(values[order]).tofile(file)
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        counts = np.bincount(partitions, minlength=self.num_partitions).astype(np.int64)
        note = {"mark": self._pending_mark, "counts": counts.tolist()}
        write_atomically(self._path(number).with_suffix(".json"), json.dumps(note).encode())
        self._counts.append(counts)
        self.mark = self._pending_mark
        self._pending, self._num_pending = [], 0

    def counts(self) -> Int64Array:
        """Return how many records each partition has, int64 [num_partitions]."""
        assert not self._num_pending, "flush first"
        return np.sum(self._counts, axis=0) if self._counts else np.zeros(self.num_partitions, np.int64)

    def read(self, first: int, last: int | None = None) -> list[AnyArray]:
        """Return the records of partitions [first, last) (one partition by default), one array per field.

        They come partition by partition within each chunk, chunk by chunk; of one partition, in the order of appending.
        """
        last = first + 1 if last is None else last
        parts: list[list[AnyArray]] = [[] for _ in self.fields]
        for number, counts in enumerate(self._counts):
            begin, count, total = int(counts[:first].sum()), int(counts[first:last].sum()), int(counts.sum())
            if count:
                for out, values in zip(parts, self._slices(number, begin, count, total), strict=True):
                    out.append(values)
        return [
            np.concatenate(values) if values else np.empty((0, field.width) if field.width else 0, field.dtype)
            for values, field in zip(parts, self.fields, strict=True)
        ]

    def batches(self, first: int, batch_records: int) -> Iterator[list[AnyArray]]:
        """Yield the records of one partition, in the order of appending, at most `batch_records` at a time; fewer when
        records are so long that a batch would be large."""
        batch_records = max(1, min(batch_records, _MOST_BATCH_BYTES // self._record_bytes))
        for number, counts in enumerate(self._counts):
            begin, count, total = int(counts[:first].sum()), int(counts[first]), int(counts.sum())
            for start in range(0, count, batch_records):
                yield list(self._slices(number, begin + start, min(batch_records, count - start), total))

    def _slices(self, number: int, begin: int, count: int, total: int) -> Iterator[AnyArray]:
        with self._path(number).open("rb") as file:
            base = 0
            for field in self.fields:
                file.seek(base + begin * field.item_bytes)
                values = np.fromfile(file, field.dtype, count * max(1, field.width))
                yield values.reshape(count, field.width) if field.width else values
                base += total * field.item_bytes
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.run"

    def _load(self) -> None:
        while (note := self._path(len(self._counts)).with_suffix(".json")).exists():
            value = json.loads(note.read_text())
            self._counts.append(np.array(value["counts"], np.int64))
            self.mark = value["mark"]
