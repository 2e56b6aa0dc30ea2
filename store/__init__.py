"""How do bytes live on disk and move to memory?

Bulk bytes lie in immutable block files, checksummed 4 KiB by 4 KiB; `BlockWriter` makes them, in one streaming pass.
What is small and transactional lies in the catalog; a version of a collection is a manifest there and files here.
All memory is a part of one stated budget, the `Accountant`'s.
The formats are pages in docs/formats/, their layouts modules in `format/`.
"""

from outcrop.store.accountant import Accountant, MemoryStatistics, Reservation, format_bytes, parse_bytes
from outcrop.store.block_writer import BlockWriter
from outcrop.store.manifest import FileEntry, Manifest

__all__ = [
    "Accountant",
    "BlockWriter",
    "FileEntry",
    "Manifest",
    "MemoryStatistics",
    "Reservation",
    "format_bytes",
    "parse_bytes",
]
