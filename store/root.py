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

from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument, NotFound, StorageFailure, UnsupportedFormat
from outcrop.store import garbage, os_calls
from outcrop.store.catalog import Catalog
from outcrop.store.format.record import pack_record, unpack_record
from outcrop.store.layout import MARKER_NAME, Layout
from outcrop.store.records import JobRecord, ObjectRecord, Records
from outcrop.store.version_lease import VersionLease, lease_version
from outcrop.store.version_writer import VersionWriter, take_writer_lock
from outcrop.types import KINDS, Manifest, check_kind, check_name

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RootStatistics:
    """What a root holds. num_objects: by kind. `size_bytes` counts the files of all committed versions."""

    num_objects: dict[str, int]
    num_versions: int
    num_jobs: int
    size_bytes: int


class Root:
    """One root folder, opened. A context manager; safe for several threads, and for several processes on one machine.

    Nothing stays open between calls, so a forked child may use its copy.
    """

    def __init__(self, layout: Layout, read_only: bool) -> None:
        """Use `Root.open`."""
        self._layout = layout
        self._records = Records(Catalog(layout.catalog))
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
            _make_root(layout)
        _check_marker(layout.marker)
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
            manifests = [manifest for record in records for manifest in view.manifests(record.id)]
            num_jobs = len(view.jobs())
        num_objects = {kind: sum(record.kind == kind for record in records) for kind in KINDS}
        return RootStatistics(num_objects, len(manifests), num_jobs, sum(m.size_bytes for m in manifests))

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
        """Return an object by its name. Raises NotFound."""
        check_name(KINDS[check_kind(kind)], name)
        with self._records.read() as view:
            return view.object(kind, name)

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
        with root_lock(self._layout):
            yield


@contextlib.contextmanager
def root_lock(layout: Layout) -> Iterator[None]:
    """Hold the root's lock, waiting for it. The innermost locks are the leases' and the catalog's."""
    descriptor = os_calls.lock(layout.lock, exclusive=True, wait=True)
    assert descriptor is not None
    try:
        yield
    finally:
        os.close(descriptor)


def _make_root(layout: Layout) -> None:
    """Make a root; the marker comes last, so what a crash leaves is recognised as unfinished and made again."""
    os_calls.make_folder(layout.root)
    _check_unfinished(layout)
    with root_lock(layout):
        if layout.marker.exists():
            return
        os_calls.remove_tree(layout.catalog)
        os_calls.make_folder(layout.kind("collections"))
        os_calls.make_folder(layout.tmp)
        Catalog.create(layout.catalog)
        os_calls.write_small(layout.marker, pack_record({"format": FORMAT, "created_unix": time.time()}))
        os_calls.sync_folder(layout.root)
        os_calls.sync_folder(layout.root.parent)


def _check_unfinished(layout: Layout) -> None:
    """Without a marker nothing was ever committed, unless somebody removed the marker: then there are objects."""
    ours = {MARKER_NAME, f"{MARKER_NAME}.new", "lock", "catalog", "tmp", *KINDS}
    found = {entry.name for entry in layout.root.iterdir()}
    if found - ours:
        raise InvalidArgument(f"{layout.root}: expected an empty folder or a root, found {sorted(found - ours)[0]!r}")
    kinds = [kind for kind in KINDS if layout.kind(kind).exists() and any(layout.kind(kind).iterdir())]
    if kinds and not layout.marker.exists():
        raise CorruptFile(f"{layout.root}: holds {' and '.join(kinds)} but no file {MARKER_NAME}")


def _check_marker(marker: Path) -> None:
    try:
        fields = unpack_record(marker.read_bytes(), str(marker))
    except OSError as error:
        raise StorageFailure(error.errno, str(error.strerror), str(marker)) from error
    if fields.get("format") != FORMAT:
        raise UnsupportedFormat(f"{marker}: root format {fields.get('format')}, this release reads format {FORMAT}")
