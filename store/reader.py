"""The Python door to stored bytes: one block reader and one arena of read buffers, both within the memory budget.

with StorageReader(memory) as reader, reader.open(version.path("vectors.blk"), entry) as file:
    rows = file.read(offset_bytes=0, length_bytes=4096)
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.stop import Stop, words_of
from outcrop.store.accountant import Accountant, Reservation
from outcrop.store.format.block_file import BLOCK_BYTES, CHECKSUM_BYTES
from outcrop.types import FileEntry, ReaderStatistics

Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]

# 64 reads in flight of 32 KiB, which is more than a merged read usually has.
DEFAULT_BUFFER_BYTES = 2 << 20
# Bandwidth / IOPS of the development machine's device: reading through a gap this long costs as much as one more read.
DEFAULT_GAP_BYTES = 12 << 10


class StorageReader:
    """Opens block files for reading. A context manager; closing it closes its files. Not for use across a fork."""

    def __init__(
        self,
        memory: Accountant,
        kind: str = "auto",
        queue_depth: int = 64,
        num_threads: int = 8,
        direct: bool = True,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
    ) -> None:
        """Choose the reader once.

        memory: the budget that buffers, checksum tables and, for the memory reader, whole files draw from.
        kind: auto, io_uring, pread or memory. queue_depth: reads in flight for each thread that reads. num_threads: of
        the pread reader. direct: around the page cache, by O_DIRECT. buffer_bytes: for reads in flight, of all threads.
        Raises InvalidArgument, ResourceExhausted, and StorageFailure when `kind` cannot be had on this machine.
        """
        self.memory = memory
        self._buffers = memory.reserve("read buffers", buffer_bytes)
        try:
            self.native = native.BlockReader(kind, queue_depth, num_threads, direct)
            self.arena = native.BufferArena(buffer_bytes)
        except BaseException:
            self._buffers.close()
            raise
        self._files: set[StoredFile] = set()
        self._closed = False

    def open(self, path: str | os.PathLike[str], entry: FileEntry) -> "StoredFile":
        """Open the file of a manifest's entry; its header and checksum table are read and checked.

        Raises CorruptFile when it is not the file of the entry, ResourceExhausted when its checksum table does not
        fit the budget, UnsupportedFormat, StorageFailure.
        """
        held = self.memory.reserve("checksum tables", entry.size_bytes // BLOCK_BYTES * CHECKSUM_BYTES)
        try:
            file = StoredFile(self, Path(path), entry, held)
        except BaseException:
            held.close()
            raise
        self._files.add(file)
        return file

    def statistics(self) -> ReaderStatistics:
        """Return the counters of the native reader and what is held."""
        counters = self.native.statistics()
        return ReaderStatistics(
            self.native.kind,
            self.native.reason,
            tuple(self.native.notes),
            counters.reads,
            counters.bytes,
            counters.errors,
            counters.short_reads,
            counters.resubmits,
            self.arena.capacity,
            self.arena.in_use,
            self.arena.peak,
            len(self._files),
            sum(file.resident_bytes for file in self._files),
        )

    def close(self) -> None:
        """Close all files and give the memory back. No read may be in flight. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            for file in list(self._files):
                file.close()
            del self.native, self.arena
            self._buffers.close()

    def __enter__(self) -> "StorageReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StoredFile:
    """One block file, open for reading. A context manager. `native` is what C++ calls take."""

    def __init__(self, reader: StorageReader, path: Path, entry: FileEntry, held: Reservation) -> None:
        """Use `StorageReader.open`."""
        self.path = path
        self.entry = entry
        self.native = native.BlockFile(reader.native, str(path), entry.kind, entry.file_id)
        self._reader = reader
        self._held = held
        in_memory = entry.size_bytes if reader.native.kind == "memory" else 0
        self._held.resize(self.native.resident_bytes + in_memory)

    @property
    def payload_bytes(self) -> int:
        """The exact size of the payload."""
        return int(self.native.payload_bytes)

    @property
    def resident_bytes(self) -> int:
        """What this file holds of the budget."""
        return self._held.size_bytes

    @property
    def buffer_bytes(self) -> int:
        """What reads in flight may take, of all files of the reader."""
        return int(self._reader.arena.capacity)

    def read(self, offset_bytes: int, length_bytes: int) -> UInt8Array:
        """Return payload bytes [offset, offset + length) as a new array, each block checked.

        Raises InvalidArgument past the end of the payload, CorruptFile, StorageFailure.
        """
        out = np.empty(length_bytes, dtype=np.uint8)
        self.read_ranges(np.array([offset_bytes]), np.array([length_bytes]), out)
        return out

    def read_ranges(
        self,
        offsets: Int64Array,
        lengths: Int64Array,
        out: UInt8Array,
        gap_bytes: int = DEFAULT_GAP_BYTES,
        stop: Stop | None = None,
    ) -> native.ReadUsage:
        """Copy payload ranges into `out`, one behind the other, and return what was read for them.

        offsets, lengths: int64 [num_ranges], bytes, in any order; they may overlap. out: uint8 [sum of lengths].
        Reads are merged across gaps of up to `gap_bytes`. Where calls of other threads hold all buffers, this one waits
        for them. Raises as `read` does, and what `stop` raises.
        """
        return self.native.read_ranges(offsets, lengths, out, gap_bytes, self._reader.arena, words_of(stop))

    def read_apart(self, offset: int, outs: Sequence[UInt8Array], stop: Stop | None = None) -> native.ReadUsage:
        """Copy payload bytes from `offset` on into arrays of any sizes, one after the other; return what was read.

        Raises as `read_ranges` does.
        """
        ends = np.cumsum([offset, *(out.size for out in outs)], dtype=np.int64)
        return self.native.read_ranges_apart(
            ends[:-1], list(outs), DEFAULT_GAP_BYTES, self._reader.arena, words_of(stop)
        )

    def close(self) -> None:
        """Give back what the file holds. Closing twice is allowed."""
        if self in self._reader._files:
            self._reader._files.remove(self)
            del self.native
            self._held.close()

    def __enter__(self) -> "StoredFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
