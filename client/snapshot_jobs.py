"""Long work on snapshots: downloading an archive, uploading one to be restored."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from outcrop.client.job import UPLOAD_SHARE, Control, followed
from outcrop.client.partial_file import PartialFile
from outcrop.client.rpcs import snapshots
from outcrop.client.rpcs.snapshots import ArchiveHead, Download
from outcrop.client.script import Call, Follow, Script
from outcrop.client.uploading import PATIENT, common_id, identity, upload, whole
from outcrop.errors import InvalidArgument, NotFound
from outcrop.types import ArchiveInfo, Progress, RestoreReport, SnapshotOrPath, is_archive_path

# What is held of a download before it is written, and what is asked for again when a process is killed.
_SEGMENT_BYTES = 16 << 20


def export(name: str, head: ArchiveHead, target: Path, control: Control) -> Script[ArchiveInfo]:
    """Write an archive to a file that does not exist; what an earlier call has left unfinished is gone on with."""
    with PartialFile(target, head.etag) as file:
        while file.size_bytes < head.size_bytes:
            pieces: list[memoryview] = []
            start = file.size_bytes
            yield Follow(Download(name, head, start, start + _SEGMENT_BYTES), pieces.append, PATIENT)
            for piece in pieces:
                file.write(piece)
            control.report(Progress("archive", file.size_bytes / head.size_bytes, None))
        file.finish()
    return ArchiveInfo(str(target), head.size_bytes, head.etag)


def restore_file(
    path: Path, rename: Mapping[str, str], objects: Sequence[tuple[str, str]] | None, job_id: str, control: Control
) -> Script[RestoreReport]:
    """Upload an archive and restore it; what the server has of it already is not sent again."""
    archive = np.memmap(path, np.uint8, "r")
    upload_id = common_id("archive", [identity(archive)])
    begin = Call(snapshots.restore({"upload_id": upload_id}, rename, objects, job_id))

    def told(_: str, num_bytes: int) -> None:
        control.report(Progress("upload", UPLOAD_SHARE * num_bytes / len(archive), None))

    yield from upload(upload_id, [whole("archive", archive)], told)
    yield begin
    report: RestoreReport = yield from followed(job_id, control, UPLOAD_SHARE)
    return report


def check_archive(path: Path) -> Path:
    """Return the absolute path of a file to upload. Raises NotFound, InvalidArgument for an empty one."""
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    if not path.stat().st_size:
        raise InvalidArgument(f"{path}: expected a snapshot's archive, found an empty file")
    return path.absolute()


def snapshot_name(source: SnapshotOrPath) -> str:
    """Return the name of a snapshot to verify. Raises InvalidArgument for an archive."""
    if is_archive_path(source):
        raise InvalidArgument(
            f"verify_snapshot: expected the name of a snapshot, found {os.fspath(source)!r}: an archive is verified "
            "where it lies, by a database that is opened by its path"
        )
    return str(source)
