"""Writing a snapshot's archive to a file; what was written stays when the work is interrupted."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from outcrop.store import os_calls
from outcrop.store.snapshots.archive import SnapshotArchive
from outcrop.store.snapshots.checked_file import CHUNK_BYTES
from outcrop.types import check_new_file

_SYNCED_BYTES = 64 << 20


def write_archive(archive: SnapshotArchive, path: Path, report: Callable[[float], object]) -> None:
    """Write the archive to `path`, which appears when all of it is durable; until then it grows in `<path>.partial`.

    Every block is checked on its way. When there is a partial file already, only what differs is written.
    report: called with the fraction that is done. Raises AlreadyExists, NotFound for a missing folder, CorruptFile for
    a snapshot that is damaged, StorageFailure.
    """
    check_new_file(path)
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os_calls.reopen(partial, partial.stat().st_size) if partial.exists() else os_calls.create(partial)
    try:
        synced = 0
        for offset, data in _chunks(archive):
            if os.pread(descriptor, len(data), offset) != data:
                os_calls.write_at(descriptor, partial, data, offset)
            if offset + len(data) - synced >= _SYNCED_BYTES:
                os_calls.drop_cached(descriptor, partial, synced, offset + len(data) - synced)
                synced = offset + len(data)
            report((offset + len(data)) / archive.size_bytes)
        with os_calls.step("truncate", partial):
            os.ftruncate(descriptor, archive.size_bytes)
        os_calls.sync_data(descriptor, partial)
    finally:
        os.close(descriptor)
    check_new_file(path)
    os_calls.rename(partial, path)
    os_calls.sync_folder(path.parent)


def _chunks(archive: SnapshotArchive) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the whole archive, in order, its blocks checked."""
    begin = archive.files_offset_bytes
    for offset in range(0, begin, CHUNK_BYTES):
        yield offset, archive.read(offset, min(CHUNK_BYTES, begin - offset))
    for archived in archive.header.objects:
        for entry in archived.manifest.files:
            for offset, data in archive.file(archived, entry).chunks():
                yield begin + offset, data
            begin += entry.size_bytes
