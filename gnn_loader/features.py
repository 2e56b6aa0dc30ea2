"""A table of feature rows, one for each node of a type: `rows.blk` of a version, row r at r * row_bytes.

    with FeatureTable.open(lease, Accountant(1 << 28)) as table:
        rows = table.fetch([7, 3, 7])

The bytes are in docs/formats/features.md, `feature_import.py` writes them.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument
from outcrop.gnn_loader.codecs import RowCodec
from outcrop.stop import Stop, check, held, stop_of
from outcrop.store import Accountant, Manifest, StorageReader, StoredFile, VersionLease
from outcrop.types import AnyArray, FeatureStatistics, Int64Array, UInt8Array, row_ids, row_output

ROWS = "rows.blk"

# So many rows are asked of the reader at once: enough to fill its queue many times, and 32 bytes of bookkeeping each.
_CHUNK_ROWS = 1 << 17
# Coded rows wait here to be decoded.
_CHUNK_BYTES = 8 << 20
_BUFFER_BYTES = 2 << 20
# Of the buffers: rows that need no more are few.
_SHARE_OF_FEW = 0.25
_BLOCK_BYTES = 4096


class FeatureTable:
    """A version of a feature table, opened. A context manager; any number of threads may fetch: those
    that fetch many rows take turns at the device. Not for use across a fork: a process opens its own."""

    def __init__(self, name: str, lease: VersionLease, file: StoredFile, resources: contextlib.ExitStack) -> None:
        """Use `FeatureTable.open`."""
        self.name = name
        self.manifest: Manifest = lease.manifest
        self.codec = RowCodec.from_json(lease.manifest.properties)
        self.num_rows = int(lease.manifest.properties["num_rows"])
        self.file = file
        self._resources = resources
        self._process = os.getpid()
        self._lock = threading.Lock()  # of those that read many rows
        self._counting = threading.Lock()
        self._statistics = FeatureStatistics(0, 0, 0)

    @classmethod
    def open(
        cls, lease: VersionLease, memory: Accountant, reader: str = "auto", name: str | None = None
    ) -> "FeatureTable":
        """Open the version of a lease, which the table takes over. name: in the root, by default the table's id.

        memory: gives 2 MiB or a sixteenth of it for read buffers, and the file's checksum table. reader: see
        `StorageReader`. Raises CorruptFile, UnsupportedFormat, ResourceExhausted, StorageFailure.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(lease)
            buffer_bytes = max(64 << 10, min(_BUFFER_BYTES, memory.budget_bytes // 16))
            storage = stack.enter_context(StorageReader(memory, reader, buffer_bytes=buffer_bytes))
            file = stack.enter_context(storage.open(lease.path(ROWS), lease.manifest.file(ROWS)))
            table = cls(name or lease.manifest.object_id, lease, file, stack)
            if file.payload_bytes != table.num_rows * table.row_bytes:
                raise CorruptFile(
                    f"{file.path}: payload of {file.payload_bytes} bytes, expected {table.num_rows} rows of "
                    f"{table.row_bytes} bytes"
                )
            table._resources = stack.pop_all()
        return table

    @property
    def version(self) -> int:
        """Which version of the table this is."""
        return self.manifest.version

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self.codec.row_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows that `fetch` returns."""
        return self.codec.dtype

    @property
    def logical_dtype(self) -> str:
        """What the rows mean: "bfloat16" where they come as uint16, else the name of `dtype`."""
        return self.codec.logical_dtype

    @property
    def codec_name(self) -> str:
        """How rows are stored: raw, float32, float16, bfloat16 or int8."""
        return self.codec.name

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self.manifest.size_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk."""
        return self.codec.row_bytes

    def fetch(
        self,
        ids: Any,
        out: AnyArray | None = None,
        decode: bool = True,
        *,
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> AnyArray:
        """Return the rows of `ids`: an array [n, *row_shape] of `dtype`, bit-identical to what was imported (raw).

        ids: integers [n], in any order, repeats allowed. out: C-contiguous, of that shape and dtype, filled and
        returned. decode: False returns the coded bytes instead, uint8 [n, row_bytes]. timeout: seconds the call may
        take; stop: instead of it, also to cancel the call from another thread; `out` is then filled in part.
        Reads are sorted and merged; each block is checked. Raises InvalidArgument naming the first id out of range,
        CorruptFile, StorageFailure, DeadlineExceeded, Cancelled.
        """
        stop = stop_of(timeout, stop)
        check(stop)
        if os.getpid() != self._process:
            raise InvalidArgument(f"{self.file.path}: the table was opened in another process; open it after the fork")
        rows = row_ids(ids, self.num_rows)
        shape: tuple[int, ...] = (len(rows), *self.row_shape) if decode else (len(rows), self.row_bytes)
        dtype = self.dtype if decode else np.dtype(np.uint8)
        out = np.empty(shape, dtype) if out is None else row_output(out, shape, dtype)
        as_stored = not decode or self.codec.name == "raw"
        step = _CHUNK_ROWS if as_stored else max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // self.row_bytes))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            if as_stored:
                self._read(rows[part], out[part].reshape(-1).view(np.uint8), stop)
            else:
                coded = np.empty((len(rows[part]), self.row_bytes), np.uint8)
                self._read(rows[part], coded.reshape(-1), stop)
                native.decode_rows(self.codec.name, coded, out[part].reshape(len(coded), -1))
        return out

    def read_stored(self, first_row: int, outs: Sequence[UInt8Array], stop: Stop | None = None) -> None:
        """Fill arrays of bytes, one after the other, with the stored bytes of consecutive rows from `first_row` on.

        For who sends them on. Raises as `fetch` does; InvalidArgument behind the last row.
        """
        num_bytes = sum(out.size for out in outs)
        offset = first_row * self.row_bytes
        if not 0 <= offset <= offset + num_bytes <= self.num_rows * self.row_bytes:
            raise InvalidArgument(
                f"rows: expected {num_bytes} bytes from row {first_row} on, found {self.num_rows} rows"
            )
        num_rows = num_bytes // max(1, self.row_bytes)
        with self._turn(num_rows, stop):
            self._count(num_rows, self.file.read_apart(offset, outs, stop))

    def statistics(self) -> FeatureStatistics:
        """Return what was fetched."""
        return self._statistics

    def close(self) -> None:
        """Give the version and its memory back. No fetch may be under way. Closing twice is allowed."""
        self._resources.close()

    def __enter__(self) -> "FeatureTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, rows: Int64Array, out: UInt8Array, stop: Stop | None) -> None:
        lengths = np.full(len(rows), self.row_bytes, np.int64)
        with self._turn(len(rows), stop):
            self._count(len(rows), self.file.read_ranges(rows * self.row_bytes, lengths, out, stop=stop))

    def _count(self, num_rows: int, usage: native.ReadUsage) -> None:
        with self._counting:
            before = self._statistics
            self._statistics = FeatureStatistics(
                before.rows + num_rows, before.reads + usage.reads, before.read_bytes + usage.bytes
            )

    def _turn(self, num_rows: int, stop: Stop | None) -> contextlib.AbstractContextManager[None]:
        """Many rows take turns: one read of them takes all buffers and keeps the device's queue full, and two would
        wait for each other's. A few go beside, so that they do not wait behind thousands."""
        most_bytes = num_rows * (self.row_bytes + 2 * _BLOCK_BYTES)  # each may begin and end within a block
        if most_bytes <= self.file.buffer_bytes * _SHARE_OF_FEW:
            return contextlib.nullcontext()
        return held(self._lock, stop)
