"""A block file that comes from elsewhere: every block is checked before it is handed on."""

from collections.abc import Callable, Iterator

import numpy as np

from outcrop import native
from outcrop.errors import CorruptFile
from outcrop.store.format import block_file
from outcrop.store.format.block_file import BLOCK_BYTES, CHECKSUM_BYTES
from outcrop.types import FileEntry

# (offset, length) of a file -> so many bytes of it.
Read = Callable[[int, int], bytes]

# Also the part of a file's checksum table that is held: 1 KiB for each.
CHUNK_BYTES = 1 << 20


class CheckedFile:
    """The file of a manifest's entry, read by `read` and called `name` in messages. Memory: two chunks."""

    def __init__(self, read: Read, entry: FileEntry, name: str) -> None:
        """Check the header and the checksum table. Raises CorruptFile, UnsupportedFormat, and what `read` raises."""
        self._read, self._name = read, name
        block = read(0, BLOCK_BYTES)
        self._header = block_file.unpack_header(block, name)
        self.size_bytes = block_file.file_size_bytes(self._header.payload_bytes)
        found = FileEntry(
            entry.name, self._header.kind, self.size_bytes, self._header.file_id, block_file.header_crc(block)
        )
        if found != entry:
            raise CorruptFile(f"{name}: found {found.to_json()}, expected {entry.to_json()}")
        self._check_table()

    def chunks(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, bytes) of consecutive parts of the file, from `start`, a multiple of 1 MiB, to its end.

        Raises CorruptFile naming the first bad block.
        """
        assert start % CHUNK_BYTES == 0
        for offset in range(start, self.size_bytes, CHUNK_BYTES):
            data = self._read(offset, min(CHUNK_BYTES, self.size_bytes - offset))
            self._check_blocks(offset, data)
            yield offset, data

    def _check_table(self) -> None:
        """Check it as a whole, in chunks; later its parts are read again and believed."""
        offset, crc, left = self._header.checksum_offset_bytes, 0, self._header.num_data_blocks * CHECKSUM_BYTES
        while offset < self.size_bytes:
            data = self._read(offset, min(CHUNK_BYTES, self.size_bytes - offset))
            crc = native.crc32c(data[:left], crc)
            if any(data[left:]):
                raise CorruptFile(f"{self._name}: bytes behind the checksum table are not zero")
            left, offset = max(0, left - len(data)), offset + len(data)
        if crc != self._header.checksum_table_crc:
            expected = self._header.checksum_table_crc
            raise CorruptFile(f"{self._name}: checksum table: checksum 0x{crc:08x}, expected 0x{expected:08x}")

    def _check_blocks(self, offset: int, data: bytes) -> None:
        """Compare the data blocks within a chunk; the header block and the table are checked already."""
        first = max(1, offset // BLOCK_BYTES)
        end = min((offset + len(data)) // BLOCK_BYTES, 1 + self._header.num_data_blocks)
        if first >= end:
            return
        blocks = np.frombuffer(data, np.uint8)[first * BLOCK_BYTES - offset : end * BLOCK_BYTES - offset]
        table_offset = self._header.checksum_offset_bytes + (first - 1) * CHECKSUM_BYTES
        expected = np.frombuffer(self._read(table_offset, (end - first) * CHECKSUM_BYTES), "<u4")
        found = native.block_checksums(blocks, first)
        bad = np.flatnonzero(found != expected)
        if bad.size:
            at = int(bad[0])
            raise CorruptFile(
                f"{self._name}: block {first + at} at offset {(first + at) * BLOCK_BYTES}: checksum "
                f"0x{int(found[at]):08x}, expected 0x{int(expected[at]):08x}"
            )
