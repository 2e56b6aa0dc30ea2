"""How does the state of one instant travel, and come back?

A snapshot (`Root.create_snapshot`) pins versions where they are. Its archive is one stream of bytes, always the same
ones, that any part can be read from, so that a broken download goes on. `restore_objects` makes new versions of an
archive, or of a snapshot in the same root, by the ordinary commit; every block is checked on its way.
docs/formats/snapshot.md.
"""

from outcrop.store.format.snapshot_archive import ArchivedObject
from outcrop.store.snapshots.archive import ArchiveFile, Extent, SnapshotArchive, SnapshotSource
from outcrop.store.snapshots.export import write_archive
from outcrop.store.snapshots.restore import Restored, RestoredAs, Restoring, check_targets, restore_objects
from outcrop.store.snapshots.verify import verify_source

__all__ = [
    "ArchiveFile",
    "ArchivedObject",
    "Extent",
    "Restored",
    "RestoredAs",
    "Restoring",
    "SnapshotArchive",
    "SnapshotSource",
    "check_targets",
    "restore_objects",
    "verify_source",
    "write_archive",
]
