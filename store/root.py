"""A root folder: its collections and their versions. The layout on disk is docs/formats/root.md.

    with Root.open("data") as root:
        collection = root.create_collection("photos", {"dim": 128})
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
from outcrop.store.manifest import Manifest
from outcrop.store.names import check_name
from outcrop.store.records import CollectionRecord, JobRecord, Records
from outcrop.store.version_lease import VersionLease, lease_version
from outcrop.store.version_writer import VersionWriter, take_writer_lock

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RootStatistics:
    """What a root holds. `size_bytes` counts the files of all committed versions."""

    num_collections: int
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
        """Return how many collections, versions and jobs there are, and the bytes of all versions."""
        with self._records.read() as view:
            manifests = [m for record in view.collections() for m in view.manifests(record.id)]
            num_collections, num_jobs = len(view.collections()), len(view.jobs())
        return RootStatistics(num_collections, len(manifests), num_jobs, sum(m.size_bytes for m in manifests))

    # Collections

    def create_collection(self, name: str, spec: dict[str, Any]) -> CollectionRecord:
        """Make an empty collection. `spec` is JSON that belongs to the engine and never changes.

        Raises InvalidArgument for a bad name or spec, AlreadyExists, StorageFailure.
        """
        check_name("collection", name)
        record = CollectionRecord(secrets.token_hex(8), name, spec, time.time(), None)
        with self._changing(), self._records.write() as change:
            if change.find_collection(name):
                raise AlreadyExists(f"collection {name!r} exists; drop it first or choose another name")
            change.put_collection(record)
        return record

    def get_collection(self, name: str) -> CollectionRecord:
        """Return a collection by its name. Raises NotFound."""
        with self._records.read() as view:
            return view.collection(check_name("collection", name))

    def list_collections(self) -> list[CollectionRecord]:
        """Return all collections, by name."""
        with self._records.read() as view:
            return view.collections()

    def drop_collection(self, name: str) -> None:
        """Forget a collection with its versions and jobs. `gc` removes the files after the last reader has left.

        Raises NotFound; Unavailable while a writer is at work in it.
        """
        check_name("collection", name)
        with self._changing(), contextlib.ExitStack() as stack:
            with self._records.read() as view:
                record = view.collection(name)
            if self._layout.collection(record.id).exists():
                stack.callback(os.close, take_writer_lock(self._layout, record))
            with self._records.write() as change:
                change.drop_collection(record)

    # Versions

    def begin_version(self, collection_id: str, job_id: str | None = None) -> VersionWriter:
        """Return a writer of the collection's next version; until it is closed there is no other one.

        job_id: names work that outlives this process. The same id gives the same folders back with what they hold,
        until the version is committed or aborted; without one, leaving the writer removes them.
        Raises NotFound, InvalidArgument for a bad job id, StorageFailure, and Unavailable naming the process that
        writes this collection.
        """
        if job_id is not None:
            check_name("job", job_id, longest=128)
        with self._changing():
            with self._records.read() as view:
                record = view.collection_by_id(collection_id)
            os_calls.make_folder(self._layout.collection(record.id))
            os_calls.sync_folder(self._layout.collections)
            lock = take_writer_lock(self._layout, record)
        return VersionWriter(self._layout, self._records, record, job_id, lock)

    def open_version(self, collection_id: str, version: int | None = None) -> VersionLease:
        """Return a lease on a version, the current one by default. Its files stay until the lease is closed.

        Raises NotFound when there is no such version, CorruptFile when a file is missing or has another size.
        """
        return lease_version(self._layout, self._records, collection_id, version)

    def list_versions(self, collection_id: str) -> list[Manifest]:
        """Return the manifests of all committed versions that gc has not removed, oldest first."""
        with self._records.read() as view:
            view.collection_by_id(collection_id)
            return view.manifests(collection_id)

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
        """Remove what nobody can reach: versions neither current nor read, dropped collections, remains of crashes.

        Work of living writers and of jobs that may be resumed stays. Returns the removed paths, relative to the root.
        Raises StorageFailure; calling again continues.
        """
        with self._changing():
            return garbage.collect(self._layout, self._records)

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
        os_calls.make_folder(layout.collections)
        os_calls.make_folder(layout.tmp)
        Catalog.create(layout.catalog)
        os_calls.write_small(layout.marker, pack_record({"format": FORMAT, "created_unix": time.time()}))
        os_calls.sync_folder(layout.root)
        os_calls.sync_folder(layout.root.parent)


def _check_unfinished(layout: Layout) -> None:
    """Without a marker nothing was ever committed, unless somebody removed the marker: then there are collections."""
    ours = {MARKER_NAME, f"{MARKER_NAME}.new", "lock", "catalog", "collections", "tmp"}
    found = {entry.name for entry in layout.root.iterdir()}
    if found - ours:
        raise InvalidArgument(f"{layout.root}: expected an empty folder or a root, found {sorted(found - ours)[0]!r}")
    if layout.collections.exists() and any(layout.collections.iterdir()) and not layout.marker.exists():
        raise CorruptFile(f"{layout.root}: holds collections but no file {MARKER_NAME}")


def _check_marker(marker: Path) -> None:
    try:
        fields = unpack_record(marker.read_bytes(), str(marker))
    except OSError as error:
        raise StorageFailure(error.errno, str(error.strerror), str(marker)) from error
    if fields.get("format") != FORMAT:
        raise UnsupportedFormat(f"{marker}: root format {fields.get('format')}, this release reads format {FORMAT}")
