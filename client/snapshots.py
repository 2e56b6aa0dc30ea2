"""Snapshots of a server: what `Database` has of them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from outcrop.client.channel import Channel
from outcrop.client.partial_file import PartialFile
from outcrop.client.rpcs import snapshots
from outcrop.client.snapshot_archive import SnapshotArchive, archive_chunks
from outcrop.jobs import Job
from outcrop.types import ArchiveInfo, Progress, SnapshotInfo, check_new_file


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

    def export_snapshot(self, name: str, path: str | os.PathLike[str]) -> Job[ArchiveInfo]:
        """Download the archive of a snapshot to a new file, here, and return the job.

        A download that breaks off is taken up where it was; a killed or cancelled one leaves `<path>.partial`, from
        which the same call goes on. Blocks are checked by whoever restores them. Raises NotFound, AlreadyExists; the
        job raises StorageFailure, Cancelled, and InvalidArgument for a snapshot that is made anew meanwhile.
        """
        target = Path(path).absolute()
        check_new_file(target)
        archive = SnapshotArchive(self._channel, name)
        return Job(f"export of {name}", lambda report: download(archive, target, report))


def download(archive: SnapshotArchive, target: Path, report: Callable[[Progress], None]) -> ArchiveInfo:
    """Write an archive to a file that does not exist."""
    with PartialFile(target, archive.etag) as file:
        for data in archive_chunks(archive, file.size_bytes):
            file.write(data)
            report(Progress("archive", file.size_bytes / archive.size_bytes, None))
        file.finish()
    return ArchiveInfo(str(target), archive.size_bytes, archive.etag)
