"""The making of one version: a work folder, then one commit. The order of its steps is in docs/formats/root.md."""

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from outcrop.errors import CorruptFile, InvalidArgument, NotFound, StorageFailure, Unavailable
from outcrop.store import os_calls
from outcrop.store.format import block_file
from outcrop.store.layout import Layout, version_number
from outcrop.store.records import JobRecord, ObjectRecord, Records
from outcrop.types import LEASE_NAME, FileEntry, Manifest


class VersionWriter:
    """Writes the next version of an object. A context manager that holds the object's writer lock until closed.

    folder: where the block files of the version are written. scratch: for anything else; never part of the version.
    Leaving without `commit()` removes both, unless the work has a job id: then they wait to be resumed.
    """

    def __init__(self, layout: Layout, records: Records, record: ObjectRecord, job_id: str | None, lock: int) -> None:
        """Use `Root.begin_version`. `lock` is the descriptor that holds the writer lock; the writer closes it."""
        self.record = record
        self.job_id = job_id
        self._layout = layout
        self._paths = layout.object(record.kind, record.id)
        self._records = records
        self._lock: int | None = lock
        self._work = layout.work(record.id, job_id or secrets.token_hex(8))
        self.folder = self._work / "files"
        self.scratch = self._work / "scratch"
        try:
            self._prepare()
        except BaseException:
            self._release()
            raise

    def load_state(self) -> dict[str, Any]:
        """Return what `save_state` last wrote, {} at first. Raises InvalidArgument for work without a job id."""
        return self._job().state

    def save_state(self, state: dict[str, Any]) -> None:
        """Remember JSON for the process that resumes this job; durable when it returns.

        The files that it speaks of must have been synced before, as `BlockWriter.finish` does; their names in `folder`
        and `scratch` are synced here. Raises InvalidArgument for work without a job id, StorageFailure.
        """
        job = dataclasses.replace(self._job(), state=state)
        os_calls.sync_folder(self.folder)
        os_calls.sync_folder(self.scratch)
        with self._records.write() as change:
            change.put_job(job)

    def commit(self, files: Sequence[FileEntry], properties: dict[str, Any]) -> Manifest:
        """Make the version durable and current, in one transaction, and close the writer.

        files: all files of the version, as `BlockWriter.finish` returned them; others in `folder` are removed.
        properties: JSON for the engine that will read the version.
        Raises InvalidArgument or CorruptFile when a file is not what its entry says, StorageFailure when the device
        refuses: then the old version is still current, and commit or abort may be called again.
        """
        assert self._lock is not None, "commit after commit, abort or close"
        self._sync_files(files)
        number = self._next_version()
        manifest = Manifest(self.record.id, number, time.time(), tuple(files), properties)
        self._announce(number)
        target = self._paths.version(number)
        os_calls.rename(self.folder, target)
        try:
            os_calls.sync_folder(target.parent)
            self._publish(manifest)
        except StorageFailure:
            if not self._published(manifest):
                os_calls.rename(target, self.folder)
                raise
        # Committed. What remains is garbage, and failing to remove it now must not look like failing to commit.
        with contextlib.suppress(StorageFailure):
            os_calls.remove_tree(self._work)
        self._release()
        return manifest

    def abort(self) -> None:
        """Remove the work folders, forget the job and close the writer."""
        if self._lock is None:
            return
        try:
            if self.job_id is not None:
                with self._records.write() as change:
                    change.delete_job(self.job_id)
            os_calls.remove_tree(self._work)
        finally:
            self._release()

    def close(self) -> None:
        """Keep the work of a job to be resumed later; abort work without a job id. Closing twice is allowed."""
        if self.job_id is None:
            self.abort()
        self._release()

    def __enter__(self) -> "VersionWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self) -> None:
        if self.job_id is not None:
            self._take_back(self._register(self.job_id))
        os_calls.make_folder(self.folder)
        os_calls.make_folder(self.scratch)
        os_calls.sync_folder(self._work)
        os_calls.sync_folder(self._layout.tmp)

    def _register(self, job_id: str) -> JobRecord:
        """Return the job's record, making it when this is its beginning."""
        with self._records.write() as change:
            job = change.find_job(job_id)
            if job is None:
                job = JobRecord(job_id, self.record.id, {})
                change.put_job(job)
        if job.object_id != self.record.id:
            raise InvalidArgument(f"job {job_id!r} belongs to the object with id {job.object_id}")
        return job

    def _take_back(self, job: JobRecord) -> None:
        """Undo the rename of a commit that died before its transaction."""
        if job.renamed_to is None or self.folder.exists():
            return
        orphan = self._paths.version(job.renamed_to)
        with self._records.read() as view:
            committed = view.find_manifest(self.record.id, job.renamed_to) is not None
        if orphan.exists() and not committed:
            os_calls.make_folder(self._work)
            os_calls.rename(orphan, self.folder)

    def _job(self) -> JobRecord:
        if self.job_id is None:
            raise InvalidArgument("state of a job: this version was begun without a job id")
        with self._records.read() as view:
            job = view.find_job(self.job_id)
        if job is None:
            raise NotFound(f"no job {self.job_id!r}: it was forgotten, or committed")
        return job

    def _sync_files(self, files: Sequence[FileEntry]) -> None:
        for entry in files:
            check_entry(self.folder / entry.name, entry)
        wanted = {entry.name for entry in files}
        for found in sorted(self.folder.iterdir()):
            if found.name not in wanted:
                os_calls.remove_tree(found) if found.is_dir() else os_calls.remove(found)
        for entry in files:
            os_calls.sync_file(self.folder / entry.name)
        os.close(os_calls.create(self.folder / LEASE_NAME))
        os_calls.sync_folder(self.folder)

    def _next_version(self) -> int:
        """One more than any version that was committed or has left a folder behind."""
        numbers = [version_number(entry.name) or 0 for entry in self._paths.folder.iterdir()]
        with self._records.read() as view:
            current = view.object_by_id(self.record.id).current_version or 0
        return 1 + max(current, *numbers)

    def _announce(self, number: int) -> None:
        """Let a job's record name the folder it is renamed to, so that a resumed job finds its files again."""
        if self.job_id is not None:
            job = dataclasses.replace(self._job(), renamed_to=number)
            with self._records.write() as change:
                change.put_job(job)

    def _publish(self, manifest: Manifest) -> None:
        with self._records.write() as change:
            record = change.object_by_id(manifest.object_id)
            assert manifest.version > (record.current_version or 0)
            change.put_manifest(manifest)
            change.put_object(dataclasses.replace(record, current_version=manifest.version))
            if self.job_id is not None:
                change.delete_job(self.job_id)

    def _published(self, manifest: Manifest) -> bool:
        with self._records.read() as view:
            return view.find_manifest(manifest.object_id, manifest.version) is not None

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_entry(path: Path, entry: FileEntry) -> None:
    """Raise CorruptFile unless the file at `path` has the size, id, kind and header checksum of `entry`.

    Reads block 0 only. Raises NotFound when there is no file.
    """
    try:
        with path.open("rb") as file:
            block = file.read(block_file.BLOCK_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    header = block_file.unpack_header(block, str(path))
    found = FileEntry(entry.name, header.kind, size_bytes, header.file_id, block_file.header_crc(block))
    if found != entry or size_bytes != block_file.file_size_bytes(header.payload_bytes):
        raise CorruptFile(f"{path}: found {found.to_json()}, expected {entry.to_json()}")


def take_writer_lock(layout: Layout, record: ObjectRecord) -> int:
    """Return a descriptor that holds the object's writer lock. Raises Unavailable naming who has it."""
    path = layout.object(record.kind, record.id).writer_lock
    descriptor = os_calls.lock(path, exclusive=True, wait=False)
    if descriptor is None:
        holder = path.read_text().strip() or "another process"
        raise Unavailable(f"{record.title} is being written by process {holder}; retry later")
    # For people only: the lock itself tells whether the process lives. A full disk must not stop it.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
