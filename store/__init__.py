"""How do bytes live on disk and move to memory?

Bulk bytes lie in immutable block files, checksummed 4 KiB by 4 KiB; `BlockWriter` makes them, in one streaming pass.
A `Root` holds collections, graphs, feature tables and plans; a version of one is a manifest in the catalog and files in
a folder, visible by one transaction. All memory is a part of one stated budget, the `Accountant`'s.
The formats are pages in docs/formats/, their layouts modules in `format/`.
"""

from outcrop.store.accountant import Accountant, Reservation
from outcrop.store.block_writer import BlockWriter
from outcrop.store.layout import SERVICE_FOLDER
from outcrop.store.pins import every_version
from outcrop.store.reader import StorageReader, StoredFile
from outcrop.store.records import JobRecord, ObjectRecord, RecordView
from outcrop.store.root import Root, RootStatistics
from outcrop.store.scratch import Field, SortedRuns, save_array, save_arrays, write_atomically
from outcrop.store.snapshot_record import PinnedVersion, SnapshotRecord
from outcrop.store.verify import verify_file, verify_version
from outcrop.store.version_lease import VersionLease
from outcrop.store.version_writer import VersionWriter
from outcrop.types import (
    DeviceModel,
    FileEntry,
    Manifest,
    MemoryStatistics,
    Problem,
    ReaderStatistics,
    format_bytes,
    parse_bytes,
)

__all__ = [
    "SERVICE_FOLDER",
    "Accountant",
    "BlockWriter",
    "DeviceModel",
    "Field",
    "FileEntry",
    "JobRecord",
    "Manifest",
    "MemoryStatistics",
    "ObjectRecord",
    "PinnedVersion",
    "Problem",
    "ReaderStatistics",
    "RecordView",
    "Reservation",
    "Root",
    "RootStatistics",
    "SnapshotRecord",
    "SortedRuns",
    "StorageReader",
    "StoredFile",
    "VersionLease",
    "VersionWriter",
    "every_version",
    "format_bytes",
    "parse_bytes",
    "save_array",
    "save_arrays",
    "verify_file",
    "verify_version",
    "write_atomically",
]
