"""A root folder: its objects (collections, graphs, feature tables, plans) and their versions.

The layout on disk is docs/formats/root.md.

    with Root.open("data") as root:
        collection = root.create("collections", "photos", {"dim": 128})
        with root.begin_version(collection.id) as writer:
            with BlockWriter(writer.folder / "vectors.blk", "vectors") as file:
                file.append(rows)
                entry = file.finish()
            writer.commit([entry], {"rows": len(rows)})
        with root.open_version(collection.id) as version:
            version.path("vectors.blk")

A version is visible from the moment its one catalog transaction is durable; readers keep the version they opened.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from outcrop.errors import AlreadyExists, InvalidArgument, NotFound
from outcrop.store import garbage, os_calls, pins, root_marker
from outcrop.store.catalog import Catalog
from outcrop.store.layout import MARKER_NAME, Layout
from outcrop.store.records import JobRecord, ObjectRecord, Records
from outcrop.store.snapshot_record import PinnedVersion, SnapshotRecord
from outcrop.store.version_lease import VersionLease, lease_pinned, lease_version
from outcrop.store.version_writer import VersionWriter, take_writer_lock
from outcrop.types import KINDS, Manifest, check_kind, check_name


@dataclass(frozen=True, slots=True)
class RootStatistics:
    """What a root holds. num_objects: by kind. num_versions, size_bytes: of all committed versions, those too
    that only a snapshot keeps."""

    num_objects: dict[str, int]
    num_versions: int
    num_jobs: int
    size_bytes: int
    num_snapshots: int


class Root:
    """One root folder, opened. A context manager; safe for several threads, and for several processes on one machine.

    Nothing stays open between calls, so a forked child may use its copy.
    """

    def __init__(self, layout: Layout, read_only: bool) -> None:
        """Use `Root.open`."""
        self._layout = layout
        self._catalog = Catalog(layout.catalog)
        self._records = Records(self._catalog)
        self._known: tuple[tuple[object, ...], dict[tuple[str, str], ObjectRecord]] = ((), {})
        self.read_only = read_only

    @classmethod
    def open(cls, path: str | os.PathLike[str], read_only: bool = False, create: bool = True) -> "Root":
        """Open the root in the folder `path`, making it when `create` is true and there is none.

        read_only: nothing is written, so that a folder without write permission or on read-only media will do.
        Raises NotFound when there is no root and none may be made, InvalidArgument when the folder holds something
        else, UnsupportedFormat for a root of another release, CorruptFile, StorageFailure.
        """
        layout = Layout(Path(path).absolute())
        if not layout.marker.exists():
            if read_only or not create:
                raise NotFound(f"{layout.root}: not an outcrop root: it has no file {MARKER_NAME}")
            root_marker.make_root(layout)
        root_marker.check_format(layout)
        root = cls(layout, read_only)
        with root._records.read():
            pass  # A damaged catalog is reported here, not in the middle of the first job.
        return root

    @property
    def path(self) -> Path:
        """The root's folder, absolute."""
        return self._layout.root

    def close(self) -> None:
        """Do nothing: between calls nothing is open. Leases and writers are closed on their own."""

    def __enter__(self) -> "Root":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> RootStatistics:
        """Return how many objects, versions and jobs there are, and the bytes of all versions."""
        with self._records.read() as view:
            records = [record for kind in KINDS for record in view.objects(kind)]
            manifests = view.all_manifests()
            num_jobs, num_snapshots = len(view.jobs()), len(view.snapshots())
        num_objects = {kind: sum(record.kind == kind for record in records) for kind in KINDS}
        size_bytes = sum(manifest.size_bytes for manifest in manifests)
        return RootStatistics(num_objects, len(manifests), num_jobs, size_bytes, num_snapshots)

    # Objects: a kind is one of collections, graphs, features, plans; a name is unique within its kind

    def create(self, kind: str, name: str, spec: dict[str, Any]) -> ObjectRecord:
        """Make an empty object. `spec` is JSON that belongs to the engine and never changes.

        Raises InvalidArgument for a bad kind, name or spec, AlreadyExists, StorageFailure.
        """
        check_name(KINDS[check_kind(kind)], name)
        record = ObjectRecord(kind, secrets.token_hex(8), name, spec, time.time(), None)
        with self._changing(), self._records.write() as change:
            if change.find_object(kind, name):
                raise AlreadyExists(f"{record.title} exists; drop it first or choose another name")
            change.put_object(record)
        return record

    def get(self, kind: str, name: str) -> ObjectRecord:
        """Return an object by its name, as of the last commit of any process. Raises NotFound.

        Asked again while nothing was committed, it costs a look at two files (some 5 us).
        """
        check_name(KINDS[check_kind(kind)], name)
        token = self.changed_token()
        known_token, known = self._known
        if known_token != token:
            known = {}
        record = known.get((kind, name))
        if record is None:
            with self._records.read() as view:
                record = known[kind, name] = view.object(kind, name)
            self._known = (token, known)
        return record

    def changed_token(self) -> tuple[object, ...]:
        """Return what differs after each commit, by whatever process: while it is equal, so is what the root holds."""
        return self._catalog.token()

    def list_objects(self, kind: str) -> list[ObjectRecord]:
        """Return all objects of a kind, by name."""
        with self._records.read() as view:
            return view.objects(check_kind(kind))

    def drop(self, kind: str, name: str) -> None:
        """Forget an object with its versions and jobs. `gc` removes the files after the last reader has left.

        Raises NotFound; Unavailable while a writer is at work in it.
        """
        check_name(KINDS[check_kind(kind)], name)
        with self._changing(), contextlib.ExitStack() as stack:
            with self._records.read() as view:
                record = view.object(kind, name)
            if self._layout.object(kind, record.id).folder.exists():
                stack.callback(os.close, take_writer_lock(self._layout, record))
            with self._records.write() as change:
                change.drop_object(record)

    # Versions

    def begin_version(self, object_id: str, job_id: str | None = None) -> VersionWriter:
        """Return a writer of the object's next version; until it is closed there is no other one.

        job_id: names work that outlives this process. The same id gives the same folders back with what they hold,
        until the version is committed or aborted; without one, leaving the writer removes them.
        Raises NotFound, InvalidArgument for a bad job id, StorageFailure, and Unavailable naming the process that
        writes this object.
        """
        if job_id is not None:
            check_name("job", job_id, longest=128)
        with self._changing():
            with self._records.read() as view:
                record = view.object_by_id(object_id)
            self._make_folder(record)
            lock = take_writer_lock(self._layout, record)
        return VersionWriter(self._layout, self._records, record, job_id, lock)

    def open_version(self, object_id: str, version: int | None = None) -> VersionLease:
        """Return a lease on a version, the current one by default. Its files stay until the lease is closed.

        Raises NotFound when there is no such version, CorruptFile when a file is missing or has another size.
        """
        return lease_version(self._layout, self._records, object_id, version)

    def list_versions(self, object_id: str) -> list[Manifest]:
        """Return the manifests of all committed versions that gc has not removed, oldest first."""
        with self._records.read() as view:
            view.object_by_id(object_id)
            return view.manifests(object_id)

    # Jobs

    def get_job(self, job_id: str) -> JobRecord | None:
        """Return the record of a job that was begun and neither committed nor aborted, or None."""
        with self._records.read() as view:
            return view.find_job(check_name("job", job_id, longest=128))

    def list_jobs(self) -> list[JobRecord]:
        """Return all jobs that may be resumed, by id."""
        with self._records.read() as view:
            return view.jobs()

    def forget_job(self, job_id: str) -> None:
        """Give up a job; the next `gc` removes its folders. A missing one is fine."""
        check_name("job", job_id, longest=128)
        with self._changing(), self._records.write() as change:
            change.delete_job(job_id)

    # Snapshots

    def create_snapshot(self, name: str, choose: pins.Chooser = pins.every_version) -> SnapshotRecord:
        """Pin versions under a name, in one transaction: nothing is copied, and `gc` leaves them until the snapshot is
        deleted, also when their objects are dropped.

        choose: is given the view of that transaction and returns (kind, name) of objects with a version, each once; by
        default all of them. Raises InvalidArgument, AlreadyExists, what `choose` raises, StorageFailure.
        """
        check_name("snapshot", name)
        with self._changing():
            root_marker.raise_format(self._layout, root_marker.FORMAT_WITH_SNAPSHOTS)
            with self._records.write() as change:
                return pins.pin(change, name, choose)

    def get_snapshot(self, name: str) -> SnapshotRecord:
        """Return a snapshot by its name. Raises NotFound."""
        check_name("snapshot", name)
        with self._records.read() as view:
            return view.snapshot(name)

    def list_snapshots(self) -> list[SnapshotRecord]:
        """Return all snapshots, by name."""
        with self._records.read() as view:
            return view.snapshots()

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot; `gc` removes what only it has kept, after the last reader has left. Raises NotFound."""
        check_name("snapshot", name)
        with self._changing(), self._records.write() as change:
            change.delete_snapshot(change.snapshot(name))

    def open_pinned(self, pinned: PinnedVersion) -> VersionLease:
        """Return a lease on a version of a snapshot. Raises NotFound when the snapshot was deleted, CorruptFile."""
        return lease_pinned(self._layout, self._records, pinned)

    # Garbage

    def gc(self) -> list[str]:
        """Remove what nobody can reach: versions neither current nor read, dropped objects, remains of crashes.

        Work of living writers and of jobs that may be resumed stays. Returns the removed paths, relative to the root.
        Raises StorageFailure; calling again continues.
        """
        with self._changing():
            return garbage.collect(self._layout, self._records)

    def _make_folder(self, record: ObjectRecord) -> None:
        """The folder of the kind may be a new name too, also when another process made it and died."""
        os_calls.make_folder(self._layout.object(record.kind, record.id).folder)
        os_calls.sync_folder(self._layout.kind(record.kind))
        os_calls.sync_folder(self._layout.root)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time decides which folders exist."""
        if self.read_only:
            raise InvalidArgument(f"{self.path}: opened read-only")
        with root_marker.root_lock(self._layout):
            yield
