"""A reader's hold on one version: while it lasts, no file of the version goes away."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from outcrop.errors import CorruptFile, NotFound
from outcrop.store import os_calls
from outcrop.store.layout import Layout, ObjectLayout
from outcrop.store.records import Records, RecordView
from outcrop.store.snapshot_record import PinnedVersion
from outcrop.types import Manifest

# Garbage collection holds a lease only while it takes the version out of the catalog and renames its folder.
_RETRY_SECONDS = 0.001


class VersionLease:
    """A version, opened. A context manager; after `close()` its files may go. A forked child shares the hold."""

    def __init__(self, folder: Path, manifest: Manifest, descriptor: int) -> None:
        """Use `Root.open_version`."""
        self.folder = folder
        self.manifest = manifest
        self._descriptor: int | None = descriptor

    def path(self, name: str) -> Path:
        """Return where the file `name` of the manifest lies. Raises NotFound."""
        return self.folder / self.manifest.file(name).name

    def close(self) -> None:
        """Let the version go. Closing twice is allowed."""
        # Closing and not LOCK_UN: the lock belongs to the open file, which a forked child may share.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "VersionLease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def lease_version(layout: Layout, records: Records, object_id: str, version: int | None) -> VersionLease:
    """Return a lease on a version of an object, the current one by default.

    Raises NotFound when there is no such version, CorruptFile when its files are not those of its manifest.
    """
    return _lease(layout, records, lambda view: _find(view, object_id, version))


def lease_pinned(layout: Layout, records: Records, pinned: PinnedVersion) -> VersionLease:
    """Return a lease on a version of a snapshot; its object may have been dropped. Raises as `lease_version` does."""
    return _lease(layout, records, lambda view: (pinned.kind, _find_pinned(view, pinned)))


def _lease(layout: Layout, records: Records, find: Callable[[RecordView], tuple[str, Manifest]]) -> VersionLease:
    """Lock a version and make sure that it was still there when it was locked.

    The version may go away between reading the manifest and locking; then `find` is asked again. It returns the
    object's kind and the manifest.
    """
    while True:
        with records.read() as view:
            kind, manifest = find(view)
        paths = layout.object(kind, manifest.object_id)
        descriptor = _try_lock(paths, manifest)
        with contextlib.ExitStack() as undo:
            if descriptor is not None:
                undo.callback(os.close, descriptor)
            if not _still_there(records, manifest):
                continue
            if descriptor is None:
                _refuse_missing_lease(paths, manifest)
                time.sleep(_RETRY_SECONDS)
                continue
            folder = paths.version(manifest.version)
            check_sizes(folder, manifest)
            undo.pop_all()
            return VersionLease(folder, manifest, descriptor)


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raise CorruptFile unless every file of the manifest is there with its size."""
    for entry in manifest.files:
        try:
            found = (folder / entry.name).stat().st_size
        except FileNotFoundError as error:
            raise CorruptFile(f"{folder / entry.name}: the manifest lists this file and it is missing") from error
        if found != entry.size_bytes:
            raise CorruptFile(f"{folder / entry.name}: size {found} bytes, the manifest says {entry.size_bytes}")


def _find(view: RecordView, object_id: str, version: int | None) -> tuple[str, Manifest]:
    record = view.object_by_id(object_id)
    wanted = record.current_version if version is None else version
    if wanted is None:
        raise NotFound(f"{record.title} has no version yet")
    manifest = view.find_manifest(object_id, wanted)
    if manifest is None and version is None:
        raise CorruptFile(f"catalog: {record.title}: its current version {wanted} has no manifest")
    if manifest is None:
        current = record.current_version
        raise NotFound(f"{record.title} has no version {wanted}; the current one is {current}")
    return record.kind, manifest


def _find_pinned(view: RecordView, pinned: PinnedVersion) -> Manifest:
    manifest = view.find_manifest(pinned.id, pinned.version)
    if manifest is None:
        raise NotFound(f"{pinned.kind} {pinned.name!r}: version {pinned.version} is gone: its snapshot was deleted")
    return manifest


def _try_lock(paths: ObjectLayout, manifest: Manifest) -> int | None:
    try:
        return os_calls.lock(paths.lease(manifest.version), exclusive=False, wait=False)
    except FileNotFoundError:
        return None


def _still_there(records: Records, manifest: Manifest) -> bool:
    with records.read() as view:
        return view.find_manifest(manifest.object_id, manifest.version) is not None


def _refuse_missing_lease(paths: ObjectLayout, manifest: Manifest) -> None:
    lease = paths.lease(manifest.version)
    if not lease.exists():
        raise CorruptFile(f"{lease}: the manifest of version {manifest.version} exists and this file is missing")
