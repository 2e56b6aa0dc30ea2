"""Which files can nobody reach any more? The caller holds the root's lock, so that no version is begun meanwhile."""

import contextlib
import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from outcrop.store import os_calls
from outcrop.store.layout import Layout, ObjectLayout, version_number
from outcrop.store.records import JobRecord, Records
from outcrop.store.snapshot_record import pins_of

_TRASH = "trash"


def collect(layout: Layout, records: Records) -> list[str]:
    """Remove unreachable versions, folders of dropped objects and remains of dead writers.

    A version is first taken out of the catalog, then renamed into tmp/, then removed: dying in between leaves garbage
    that the next call recognises. Returns the removed paths, relative to the root, in the order of removal.
    """
    records.sweep()
    with records.read() as view:
        pins = pins_of(view.snapshots())  # which nobody makes or deletes without the root's lock
    removed: list[Path] = []
    for paths in layout.objects():
        removed += _collect_object(layout, records, paths, pins)
    removed += _collect_tmp(layout, records)
    return [str(path.relative_to(layout.root)) for path in removed]


def _collect_object(
    layout: Layout, records: Records, paths: ObjectLayout, pins: Collection[tuple[str, int]]
) -> list[Path]:
    with records.read() as view:
        record = view.find_object_by_id(paths.id)
        listed = {manifest.version for manifest in view.manifests(paths.id)}
        awaited = {job.renamed_to for job in view.jobs() if job.object_id == paths.id}
    removed = []
    with _try_lock(paths.writer_lock) as writer_absent:
        for entry in sorted(paths.folder.iterdir()):
            number = version_number(entry.name)
            if number is None or (paths.id, number) in pins:
                continue
            if record is not None and number == record.current_version:
                continue
            orphan = number not in listed
            if orphan and (not writer_absent or number in awaited):
                continue
            if _remove_version(layout, records, paths, number):
                removed.append(entry)
        if record is None and writer_absent and not any(version_number(entry.name) for entry in paths.folder.iterdir()):
            _to_trash(layout, paths.folder)
            removed.append(paths.folder)
    return removed


def _remove_version(layout: Layout, records: Records, paths: ObjectLayout, number: int) -> bool:
    """Remove a version unless somebody reads it."""
    with _try_lock(paths.lease(number)) as unread:
        if not unread:
            return False
        with records.write() as change:
            change.delete_manifest(paths.id, number)
        trash = _to_trash(layout, paths.version(number))
    os_calls.remove_tree(trash)
    return True


def _collect_tmp(layout: Layout, records: Records) -> list[Path]:
    with records.read() as view:
        jobs = {layout.work(job.object_id, job.id).name: job for job in view.jobs()}
    removed = []
    for entry in sorted(layout.tmp.iterdir()):
        if _is_work_of_the_living(layout, entry, jobs):
            continue
        os_calls.remove_tree(entry) if entry.is_dir() else os_calls.remove(entry)
        removed.append(entry)
    return [entry for entry in removed if not entry.name.startswith(f"{_TRASH}.")]


def _is_work_of_the_living(layout: Layout, work: Path, jobs: dict[str, JobRecord]) -> bool:
    if work.name in jobs:
        return True
    object_id = work.name.partition(".")[0]
    for paths in layout.objects():
        if paths.id == object_id and paths.writer_lock.exists():
            with _try_lock(paths.writer_lock) as writer_absent:
                return not writer_absent
    return False


def _to_trash(layout: Layout, folder: Path) -> Path:
    trash = layout.tmp / f"{_TRASH}.{secrets.token_hex(8)}"
    os_calls.rename(folder, trash)
    return trash


@contextlib.contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock; if so it is held meanwhile."""
    descriptor = os_calls.lock(path, exclusive=True, wait=False)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)
