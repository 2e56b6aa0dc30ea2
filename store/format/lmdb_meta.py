"""The part of LMDB's file that `lmdb.verify` does not judge and that ends the process when it is damaged: database
flags.

LMDB 0.9 keeps two meta pages in front of its file; each describes the free list and the one database that we use. A
database flagged as having sorted duplicates makes LMDB fail an assertion, which aborts. Ours never has flags.
"""

import struct
from pathlib import Path

from outcrop.errors import CorruptFile

_PAGE_BYTES = 4096
# Page header (16), magic, version, address, map size; then two MDB_db records of 48 bytes that begin with pad and
# flags.
_META = struct.Struct("<16xIIQQ IH42x IH42x")
_MAGIC, _VERSION, _INTEGER_KEYS = 0xBEEFC0DE, 1, 0x08


def check_meta_pages(path: Path) -> None:
    """Raise CorruptFile unless both meta pages describe databases as ours are made. Reads 8 KiB, maps nothing."""
    with path.open("rb") as file:
        data = file.read(2 * _PAGE_BYTES)
    if len(data) < 2 * _PAGE_BYTES:
        raise CorruptFile(f"{path}: {len(data)} bytes long, expected two meta pages")
    for page in (0, 1):
        magic, version, _, _, page_bytes, free_flags, pad, flags = _META.unpack_from(data, page * _PAGE_BYTES)
        found = (magic, version, page_bytes, free_flags, pad, flags)
        if found != (_MAGIC, _VERSION, _PAGE_BYTES, _INTEGER_KEYS, 0, 0):
            raise CorruptFile(f"{path}: meta page {page} is not one of ours: {', '.join(map(hex, found))}")
