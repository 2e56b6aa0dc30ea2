"""Snapshots of a server: what `Database` has of them."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from outcrop.client.channel import Channel
from outcrop.client.job import RemoteJob, followed
from outcrop.client.rpcs import snapshots
from outcrop.client.snapshot_archive import SnapshotArchive
from outcrop.client.snapshot_jobs import check_archive, export, restore_file, snapshot_name
from outcrop.client.uploading import fresh_id
from outcrop.types import (
    ArchiveInfo,
    RestoreReport,
    SnapshotInfo,
    SnapshotOrPath,
    SnapshotReport,
    check_new_file,
    is_archive_path,
    parse_bytes,
)


class Snapshots:
    """A part of `Database`."""

    _channel: Channel

    def create_snapshot(self, name: str, *, objects: Sequence[tuple[str, str]] | None = None) -> SnapshotInfo:
        """As embedded; None is all that the key may see."""
        return self._channel.call(snapshots.create(name, objects))

    def snapshot(self, name: str) -> SnapshotInfo:
        """Return what a snapshot keeps. Raises NotFound."""
        return self._channel.call(snapshots.get(name))

    def list_snapshots(self) -> list[SnapshotInfo]:
        """Return all snapshots of which the key may see everything, by name."""
        return self._channel.call(snapshots.infos())

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot and remove what only it has kept. Downloads under way go on. Raises NotFound."""
        self._channel.call(snapshots.delete(name))

    def snapshot_archive(self, name: str) -> SnapshotArchive:
        """Open a snapshot as the bytes of its archive, any part of which can be read. Raises NotFound, CorruptFile."""
        return SnapshotArchive(self._channel, name)

    def export_snapshot(self, name: str, path: str | os.PathLike[str]) -> RemoteJob[ArchiveInfo]:
        """Download the archive of a snapshot to a new file, here, and return the job.

        A download that breaks off is taken up where it was; a killed or cancelled one leaves `<path>.partial`, from
        which the same call goes on. Blocks are checked by whoever restores them. Raises NotFound, AlreadyExists; the
        job raises StorageFailure, Cancelled, and InvalidArgument for a snapshot that is made anew meanwhile.
        """
        target = Path(path).absolute()
        check_new_file(target)
        (head,) = self._channel.stream(snapshots.Opening(name))
        return RemoteJob(f"export of {name}", self._channel, lambda control: export(name, head, target, control))

    def verify_snapshot(self, source: SnapshotOrPath, *, memory: str | int = "256MiB") -> RemoteJob[SnapshotReport]:
        """Let the server read every byte of a snapshot, and return the job. memory: there. Raises NotFound, and
        InvalidArgument for an archive: it is verified where it lies, by an embedded database."""
        name, job_id = snapshot_name(source), fresh_id("verify", secrets.token_hex(16))
        self._channel.call(snapshots.verify(name, parse_bytes(memory), job_id))
        return RemoteJob(f"verification of {name}", self._channel, lambda control: followed(job_id, control))

    def restore_snapshot(
        self,
        source: SnapshotOrPath,
        *,
        rename: Mapping[str, str] | None = None,
        objects: Sequence[tuple[str, str]] | None = None,
    ) -> RemoteJob[RestoreReport]:
        """As embedded, in the server. An archive lies here and is uploaded first; what is wrong with it, the job
        tells."""
        job_id, renamed = fresh_id("restore", secrets.token_hex(16)), rename or {}
        title = f"restore of {os.fspath(source)}"
        if is_archive_path(source):
            path = check_archive(Path(source))
            upload = lambda control: restore_file(path, renamed, objects, job_id, control)  # noqa: E731
            return RemoteJob(title, self._channel, upload)
        self._channel.call(snapshots.restore({"name": str(source)}, renamed, objects, job_id))
        return RemoteJob(title, self._channel, lambda control: followed(job_id, control))
