"""Writes one block file from a stream of bytes. The layout is docs/formats/block_file.md."""

import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument
from outcrop.store import os_calls
from outcrop.store.format import block_file
from outcrop.store.format.block_file import BLOCK_BYTES, Header
from outcrop.types import FileEntry, check_file_kind

if TYPE_CHECKING:
    from outcrop.store.os_calls import Bytes

UInt8Array = npt.NDArray[np.uint8]

# Small appends gather here, so that the core checksums and the kernel writes at least this much in one call.
_BUFFER_BYTES = 1 << 20
# A build that writes more than memory holds must not push everything else out of the page cache: after each window the
# written pages are flushed and dropped. 64 MiB keep a device of 1 GB/s busy for 60 ms, far longer than a flush takes to
# start.
_WINDOW_BYTES = 64 << 20


class BlockWriter:
    """Streams a payload into a new block file. A context manager; leaving it without `finish()` removes the file.

        with BlockWriter(folder / "vectors-000.blk", "vectors") as writer:
            writer.append(rows)
            entry = writer.finish()

    Block 0 is written last, so a file that was never finished has no magic and no reader accepts it.
    Memory: 1 MiB, and 4 bytes for each block written.

    A file that takes long is written with checkpoints, by a job. `resumed` goes on behind the last one:

        done = writer.checkpoint(scratch / "vectors.sums")   # remember `done` in the job's state, then
        writer.keep()                                        # leave the file behind where the work is interrupted
        writer = BlockWriter.resumed(folder / "vectors-000.blk", "vectors", scratch / "vectors.sums", done)
    """

    def __init__(self, path: str | os.PathLike[str], kind: str) -> None:
        """Create `path`, replacing what is there. Raises InvalidArgument for a bad kind, StorageFailure."""
        check_file_kind(kind)
        self._start(Path(path), kind, os_calls.create(Path(path)))

    def _start(self, path: Path, kind: str, file: int) -> None:
        self.path = path
        self.kind = kind
        self.payload_bytes = 0
        self._buffer: UInt8Array = np.empty(_BUFFER_BYTES, dtype=np.uint8)
        self._buffered_bytes = 0
        self._num_blocks = 0
        self._dropped_blocks = 0
        self._saved_blocks = 0
        self._checksums: list[npt.NDArray[np.uint32]] = []
        self._file = file
        self._open = True

    @classmethod
    def resumed(cls, path: str | os.PathLike[str], kind: str, checksums: Path, payload_bytes: int) -> "BlockWriter":
        """Return a writer that goes on behind a checkpoint: its payload is the first `payload_bytes` again.

        checksums, payload_bytes: what `checkpoint` was given and returned. What was written later is cut off.
        Raises CorruptFile when the files are shorter than the checkpoint says, StorageFailure.
        """
        assert payload_bytes % BLOCK_BYTES == 0
        num_blocks, path = payload_bytes // BLOCK_BYTES, Path(path)
        sums = np.fromfile(checksums, "<u4", num_blocks) if num_blocks else np.empty(0, np.uint32)
        size_bytes = path.stat().st_size
        if sums.size < num_blocks or (num_blocks and size_bytes < BLOCK_BYTES + payload_bytes):
            raise CorruptFile(
                f"{path}: {size_bytes} bytes and {sums.size} checksums, the checkpoint says {payload_bytes} bytes of "
                f"payload and {num_blocks}"
            )
        writer = cls.__new__(cls)
        writer._start(path, kind, os_calls.reopen(path, BLOCK_BYTES + payload_bytes))
        writer.payload_bytes = payload_bytes
        writer._num_blocks = writer._dropped_blocks = writer._saved_blocks = num_blocks
        writer._checksums = [sums.astype(np.uint32)]
        return writer

    def append(self, data: "Bytes") -> None:
        """Add bytes to the payload: any C-contiguous buffer (bytes, memoryview, NumPy array of any dtype and shape).

        Large buffers are checksummed and written where they lie; only what does not fill a block is copied.
        Raises InvalidArgument for a strided buffer; StorageFailure, and the file is then of no use.
        """
        assert self._open, "append after finish or abort"
        rest = _as_bytes(data)
        self.payload_bytes += rest.size
        if self._buffered_bytes:
            rest = self._fill_buffer(rest)
        if rest.size >= _BUFFER_BYTES:
            whole = rest.size - rest.size % BLOCK_BYTES
            self._write_blocks(rest[:whole])
            rest = rest[whole:]
        if rest.size:
            self._fill_buffer(rest)

    def finish(self) -> FileEntry:
        """Write the last block, the checksum table and the header, make them durable, return the manifest's entry.

        Raises StorageFailure. The name becomes durable when the version's folder is synced at commit.
        """
        assert self._open, "finish after finish or abort"
        self._write_last_block()
        table = np.concatenate(self._checksums) if self._checksums else np.empty(0, dtype=np.uint32)
        assert table.size == self._num_blocks == -(-self.payload_bytes // BLOCK_BYTES)
        header = Header(self.kind, self.payload_bytes, native.crc32c(table.astype("<u4").tobytes()), uuid.uuid4().bytes)
        self._write_table(table, header.checksum_offset_bytes)
        block = block_file.pack_header(header)
        os_calls.write_at(self._file, self.path, block, 0)
        os_calls.sync_data(self._file, self.path)
        size_bytes = block_file.file_size_bytes(self.payload_bytes)
        assert os.fstat(self._file).st_size == size_bytes
        self._close()
        return FileEntry(self.path.name, self.kind, size_bytes, header.file_id, block_file.header_crc(block))

    def checkpoint(self, checksums: Path) -> int:
        """Make the blocks written so far durable and return their payload bytes, from which `resumed` can go on.

        Up to 1 MiB appended last may not be among them. checksums: a file that holds the checksums of these blocks,
        made by the first checkpoint and extended by the others. Raises StorageFailure.
        """
        assert self._open, "checkpoint after finish or abort"
        table = np.concatenate(self._checksums) if self._checksums else np.empty(0, np.uint32)
        self._checksums = [table]
        known = self._saved_blocks
        held = os_calls.reopen(checksums, 4 * known) if known else os_calls.create(checksums)
        try:
            os_calls.write_at(held, checksums, table[known:].astype("<u4"), 4 * known)
            os_calls.sync_data(held, checksums)
        finally:
            os.close(held)
        os_calls.sync_data(self._file, self.path)
        self._saved_blocks = self._num_blocks
        return self._num_blocks * BLOCK_BYTES

    def keep(self) -> None:
        """Close the file as it is, so that leaving the context does not remove it. After `finish()` this does
        nothing."""
        if self._open:
            self._close()

    def abort(self) -> None:
        """Remove the file. After `finish()` or `keep()` this does nothing."""
        if self._open:
            self._close()
            os_calls.remove(self.path)

    def __enter__(self) -> "BlockWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _fill_buffer(self, data: UInt8Array) -> UInt8Array:
        """Copy as much of `data` as fits, write the buffer when it is full, and return what did not fit."""
        taken = min(data.size, _BUFFER_BYTES - self._buffered_bytes)
        self._buffer[self._buffered_bytes : self._buffered_bytes + taken] = data[:taken]
        self._buffered_bytes += taken
        if self._buffered_bytes == _BUFFER_BYTES:
            self._write_blocks(self._buffer)
            self._buffered_bytes = 0
        return data[taken:]

    def _write_blocks(self, blocks: UInt8Array) -> None:
        assert blocks.size % BLOCK_BYTES == 0
        first_block = 1 + self._num_blocks
        for start in range(0, blocks.size, _WINDOW_BYTES):
            window = blocks[start : start + _WINDOW_BYTES]
            self._checksums.append(native.block_checksums(window, first_block))
            os_calls.write_at(self._file, self.path, window, first_block * BLOCK_BYTES)
            first_block += window.size // BLOCK_BYTES
            self._num_blocks = first_block - 1
            self._drop_written()

    def _drop_written(self) -> None:
        length = (self._num_blocks - self._dropped_blocks) * BLOCK_BYTES
        if length >= _WINDOW_BYTES:
            os_calls.drop_cached(self._file, self.path, self._dropped_blocks * BLOCK_BYTES, length)
            self._dropped_blocks = self._num_blocks

    def _write_last_block(self) -> None:
        end = -(-self._buffered_bytes // BLOCK_BYTES) * BLOCK_BYTES
        self._buffer[self._buffered_bytes : end] = 0
        if end:
            self._write_blocks(self._buffer[:end])
        self._buffered_bytes = 0

    def _write_table(self, table: npt.NDArray[np.uint32], offset: int) -> None:
        padded = np.zeros(-(-table.nbytes // BLOCK_BYTES) * BLOCK_BYTES // 4, dtype="<u4")
        padded[: table.size] = table
        os_calls.write_at(self._file, self.path, padded, offset)

    def _close(self) -> None:
        self._open = False
        os.close(self._file)


def _as_bytes(data: "Bytes") -> UInt8Array:
    try:
        return np.frombuffer(os_calls.flat(data), dtype=np.uint8)
    except TypeError as error:
        raise InvalidArgument("payload: expected a C-contiguous buffer, found a strided one") from error
