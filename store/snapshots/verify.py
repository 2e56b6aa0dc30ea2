"""Is every byte of a snapshot what was written?"""

from collections.abc import Callable, Iterator

from outcrop.errors import CorruptFile, UnsupportedFormat
from outcrop.store.format.snapshot_archive import ArchivedObject
from outcrop.store.snapshots.archive import SnapshotSource
from outcrop.types import FileEntry, Problem


def verify_source(source: SnapshotSource, report: Callable[[float], object]) -> Iterator[Problem]:
    """Yield what is wrong with a snapshot or an archive: of each file the first bad block, by `kind/name/file`.

    report: called with the fraction that is done. Raises StorageFailure, and what `report` raises.
    """
    files = [(archived, entry) for archived in source.header.objects for entry in archived.manifest.files]
    total, done = max(1, sum(entry.size_bytes for _, entry in files)), 0
    for archived, entry in files:
        problem = _check_file(source, archived, entry, done, lambda read: report(read / total))
        if problem is not None:
            yield Problem(f"{archived.title}/{entry.name}", None, problem)
        done += entry.size_bytes


def _check_file(
    source: SnapshotSource, archived: ArchivedObject, entry: FileEntry, base: int, advance: Callable[[int], object]
) -> str | None:
    """Read a file; return what is wrong with it, or None. base: bytes read before. advance: called with those and
    more."""
    try:
        for offset, data in source.file(archived, entry).chunks():
            advance(base + offset + len(data))
    except (CorruptFile, UnsupportedFormat) as error:
        return str(error)
    return None
