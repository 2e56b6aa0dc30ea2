"""The layout of a block file: header block, data blocks, checksum table. The page is docs/formats/block_file.md.

Constants, pack and unpack only: `store/block_writer.py` writes these files and `core/io/block_file.hpp` reads them.
"""

import struct
from dataclasses import dataclass

from outcrop import native
from outcrop.errors import CorruptFile, UnsupportedFormat
from outcrop.types import FILE_ID_BYTES, FILE_KIND, check_file_kind

BLOCK_BYTES = 4096
MAGIC = b"OUTCROP\0"
VERSION = 1
KIND_BYTES = 16
CHECKSUM_BYTES = 4

# magic, version, block_bytes, kind, payload_bytes, num_data_blocks, checksum_offset_bytes, table crc, flags, file id
_FIELDS = struct.Struct("<8sII16sQQQII16s")
_HEADER_CRC = struct.Struct("<I")
_RESERVED = slice(_FIELDS.size, BLOCK_BYTES - _HEADER_CRC.size)


@dataclass(frozen=True, slots=True)
class Header:
    """What block 0 says; the sizes that follow from `payload_bytes` are recomputed, and checked when unpacked."""

    kind: str
    payload_bytes: int
    checksum_table_crc: int
    file_id: bytes

    @property
    def num_data_blocks(self) -> int:
        """Data blocks, the last one zero padded; they are file blocks 1 to `num_data_blocks`."""
        return -(-self.payload_bytes // BLOCK_BYTES)

    @property
    def checksum_offset_bytes(self) -> int:
        """Where the checksum table starts in the file."""
        return BLOCK_BYTES * (1 + self.num_data_blocks)


def file_size_bytes(payload_bytes: int) -> int:
    """The exact size of a block file: header, data blocks, checksum table in whole blocks."""
    num_blocks = -(-payload_bytes // BLOCK_BYTES)
    table_blocks = -(-num_blocks * CHECKSUM_BYTES // BLOCK_BYTES)
    return BLOCK_BYTES * (1 + num_blocks + table_blocks)


def pack_header(header: Header) -> bytes:
    """Return block 0, its own checksum included.

    Raises InvalidArgument for a kind that does not fit.
    """
    check_file_kind(header.kind)
    assert len(header.file_id) == FILE_ID_BYTES
    fields = _FIELDS.pack(
        MAGIC,
        VERSION,
        BLOCK_BYTES,
        header.kind.encode("ascii"),
        header.payload_bytes,
        header.num_data_blocks,
        header.checksum_offset_bytes,
        header.checksum_table_crc,
        0,
        header.file_id,
    )
    body = fields.ljust(_RESERVED.stop, b"\0")
    return body + _HEADER_CRC.pack(native.crc32c(body))


def header_crc(block: bytes) -> int:
    """The checksum stored at the end of block 0. It covers the table's checksum and so the whole file."""
    return int(_HEADER_CRC.unpack_from(block, _RESERVED.stop)[0])


def unpack_header(block: bytes, name: str) -> Header:
    """Return the header in `block`, the first 4096 bytes of the file called `name` in messages.

    The checksum is compared before the version is believed: a flipped bit in the version is damage, not a newer file.
    Raises CorruptFile when the bytes are not a whole header, UnsupportedFormat when they are one of another version.
    """
    if len(block) != BLOCK_BYTES:
        raise CorruptFile(f"{name}: header: expected {BLOCK_BYTES} bytes, found {len(block)}")
    magic, version, block_bytes, kind, payload, num_blocks, table_offset, table_crc, flags, file_id = (
        _FIELDS.unpack_from(block)
    )
    if magic != MAGIC:
        raise CorruptFile(f"{name}: header: magic {magic!r}, expected {MAGIC!r}")
    _check_crc(block, name)
    if version != VERSION:
        raise UnsupportedFormat(f"{name}: block file version {version}, this release reads version {VERSION}")
    header = Header(_unpack_kind(kind, name), payload, table_crc, file_id)
    expected = (BLOCK_BYTES, header.num_data_blocks, header.checksum_offset_bytes, 0)
    found = (block_bytes, num_blocks, table_offset, flags)
    for field, want, got in zip(
        ("block_bytes", "num_data_blocks", "checksum_offset_bytes", "flags"), expected, found, strict=True
    ):
        if want != got:
            raise CorruptFile(f"{name}: header: {field} {got}, expected {want}")
    if any(block[_RESERVED]):
        raise CorruptFile(f"{name}: header: reserved bytes {_RESERVED.start} to {_RESERVED.stop} are not zero")
    return header


def _check_crc(block: bytes, name: str) -> None:
    found, expected = native.crc32c(block[: _RESERVED.stop]), header_crc(block)
    if found != expected:
        raise CorruptFile(f"{name}: block 0 at offset 0: checksum 0x{found:08x}, expected 0x{expected:08x}")


def _unpack_kind(raw: bytes, name: str) -> str:
    text = raw.rstrip(b"\0").decode("latin-1")
    if not FILE_KIND.fullmatch(text):
        raise CorruptFile(f"{name}: header: kind {text!r} is not a name")
    return text
