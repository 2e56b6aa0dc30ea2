"""Makes new versions of a snapshot. They appear by the ordinary commit, when all bytes are there."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.errors import CorruptFile, InvalidArgument, NotFound, ResourceExhausted, UnsupportedFormat
from outcrop.store import os_calls
from outcrop.store.format.snapshot_archive import ArchivedObject
from outcrop.store.records import ObjectRecord
from outcrop.store.root import Root
from outcrop.store.snapshots.archive import SnapshotSource, reader
from outcrop.store.snapshots.checked_file import CheckedFile
from outcrop.store.version_writer import VersionWriter
from outcrop.types import KINDS, FileEntry, check_name, format_bytes

# A killed restore copies at most so much again; making as much durable takes longer than noting it.
_CHECKPOINT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Restoring:
    """An object to restore, and the name that it gets. made_from: (object id, version) of those that its properties
    name; where they are restored too, they come before it."""

    archived: ArchivedObject
    name: str
    made_from: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Restored:
    """An object that was restored: as which version of which object it is current now."""

    kind: str
    name: str
    id: str
    version: int


# (object id, version) as the snapshot has them -> what they were restored as.
RestoredAs = Mapping[tuple[str, int], Restored]
# Returns the properties of the new version, which may name other restored objects.
Refit = Callable[[ArchivedObject, RestoredAs], dict[str, Any]]


def restore_objects(
    root: Root, source: SnapshotSource, chosen: Sequence[Restoring], refit: Refit, report: Callable[[float], object]
) -> list[Restored]:
    """Restore objects in the order of `chosen`.

    An object of that kind and name gets a new version, or is made. One whose current version has the same files, all
    good, and the same properties is left as it is: so what is called again after it was killed goes on.
    Before the first commit nothing has changed; the same arguments resume. When the source turns out to be damaged,
    everything is as before. refit: see `Refit`. report: called with the fraction that is done.
    Raises InvalidArgument when an object of this name is something else, CorruptFile naming the block,
    ResourceExhausted when the disk is too small, Unavailable when another process writes one of the objects,
    StorageFailure.
    """
    check_targets(root, chosen)
    restored: dict[tuple[str, int], Restored] = {}
    with contextlib.ExitStack() as stack:
        work: dict[tuple[str, int], _Work] = {}
        for each in chosen:
            known = each.made_from.isdisjoint(work)
            found = _already_there(root, each, refit(each.archived, restored), report) if known else None
            if found is None:
                work[_key(each)] = stack.enter_context(_Work(root, source, each))
            else:
                restored[_key(each)] = found
        try:
            _check_space(root, work.values())
            _copy(work.values(), report)
            for key, one in work.items():
                restored[key] = one.commit(refit(one.each.archived, restored))
        except (CorruptFile, InvalidArgument, UnsupportedFormat):
            for one in work.values():
                one.abort()  # the same call would only fail again
            raise
    return [restored[_key(each)] for each in chosen]


def _key(each: Restoring) -> tuple[str, int]:
    return each.archived.manifest.object_id, each.archived.manifest.version


def check_targets(root: Root, chosen: Sequence[Restoring]) -> None:
    """Raise InvalidArgument for new names that are none or meet, or belong to something of another nature.

    `restore_objects` does so too, before any work.
    """
    targets = [(each.archived.kind, check_name(KINDS[each.archived.kind], each.name)) for each in chosen]
    for kind, name in targets:
        if targets.count((kind, name)) > 1:
            raise InvalidArgument(f"restore: more than one object would become {KINDS[kind]} {name!r}")
    for each in chosen:
        record = _find(root, each)
        if record is not None and record.spec != each.archived.spec:
            raise InvalidArgument(
                f"restore: {record.title} is {record.spec}, that of the snapshot {each.archived.spec}: "
                "restore it under another name, or drop what is there"
            )


def _find(root: Root, each: Restoring) -> ObjectRecord | None:
    try:
        return root.get(each.archived.kind, each.name)
    except NotFound:
        return None


def _already_there(
    root: Root, each: Restoring, properties: dict[str, Any], report: Callable[[float], object]
) -> Restored | None:
    """Return the current version if it is what would be restored, all blocks of it."""
    record, manifest = _find(root, each), each.archived.manifest
    if record is None or record.current_version is None:
        return None
    try:
        with root.open_version(record.id) as lease:
            if lease.manifest.files != manifest.files or lease.manifest.properties != properties:
                return None
            for entry in manifest.files:
                path = lease.path(entry.name)
                for _ in CheckedFile(reader(path), entry, str(path)).chunks():
                    report(0.0)
            return Restored(record.kind, record.name, record.id, lease.manifest.version)
    except (CorruptFile, UnsupportedFormat):
        return None  # a damaged one is what restoring is for


def _check_space(root: Root, work: Collection["_Work"]) -> None:
    disk = os.statvfs(root.path)
    free, needed = disk.f_bavail * disk.f_frsize, sum(one.missing_bytes for one in work)
    if needed > free:
        raise ResourceExhausted(
            f"restore: needs {format_bytes(needed)} of disk, {format_bytes(free)} are free at {root.path}"
        )


def _copy(work: Collection["_Work"], report: Callable[[float], object]) -> None:
    total = max(1, sum(one.each.archived.manifest.size_bytes for one in work))
    done = 0
    for one in work:
        one.copy(done, lambda copied: report(copied / total))
        done += one.each.archived.manifest.size_bytes


class _Work:
    """One object on its way: its files are copied, then committed. A context manager; leaving it keeps what was
    copied, if anything, for the same call to go on with."""

    def __init__(self, root: Root, source: SnapshotSource, each: Restoring) -> None:
        self.each = each
        self._root, self._source = root, source
        record = _find(root, each)
        made = record is None
        if record is None:
            record = root.create(each.archived.kind, each.name, each.archived.spec)
        digest = hashlib.sha256(f"{source.etag} {each.archived.title}".encode()).hexdigest()
        self._writer: VersionWriter = root.begin_version(record.id, f"restore-{record.id}-{digest[:16]}")
        state = self._writer.load_state()
        # What is durable of each file, and whether the object was made for this.
        self._synced: dict[str, int] = state.get("synced", {})
        self._made: bool = state.get("made", made)
        self._committed = False

    @property
    def missing_bytes(self) -> int:
        """What is still to be copied."""
        return self.each.archived.manifest.size_bytes - sum(self._synced.values())

    def copy(self, base: int, advance: Callable[[int], object]) -> None:
        """Copy all files. base: bytes copied of other objects. advance: called with those and more."""
        for entry in self.each.archived.manifest.files:
            if self._synced.get(entry.name) != entry.size_bytes:
                self._copy_file(entry, base, advance)
            base += entry.size_bytes
            advance(base)

    def commit(self, properties: dict[str, Any]) -> Restored:
        """Make the version current."""
        manifest = self._writer.commit(self.each.archived.manifest.files, properties)
        self._committed = True
        return Restored(self.each.archived.kind, self.each.name, manifest.object_id, manifest.version)

    def abort(self) -> None:
        """Remove what was copied, and the object if it was made for this."""
        self._writer.abort()
        if self._made and not self._committed:
            with contextlib.suppress(NotFound):
                self._root.drop(self.each.archived.kind, self.each.name)

    def __enter__(self) -> "_Work":
        return self

    def __exit__(self, *_: object) -> None:
        if self._synced or self._committed:
            self._writer.close()
        else:
            self.abort()

    def _copy_file(self, entry: FileEntry, base: int, advance: Callable[[int], object]) -> None:
        file = self._source.file(self.each.archived, entry)
        path, synced = self._writer.folder / entry.name, self._synced.get(entry.name, 0)
        descriptor = os_calls.reopen(path, synced) if synced else os_calls.create(path)
        try:
            for offset, data in file.chunks(synced):
                os_calls.write_at(descriptor, path, data, offset)
                end = offset + len(data)
                if end - synced >= _CHECKPOINT_BYTES or end == entry.size_bytes:
                    os_calls.drop_cached(descriptor, path, synced, end - synced)
                    self._note(entry, end)
                    synced = end
                advance(base + end)
        finally:
            os.close(descriptor)

    def _note(self, entry: FileEntry, synced: int) -> None:
        self._synced[entry.name] = synced
        self._writer.save_state({"synced": self._synced, "made": self._made})
