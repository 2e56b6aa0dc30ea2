"""SnapshotService: keeping versions of one instant, sending them as an archive, restoring them."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from functools import partial

from outcrop import snapshots
from outcrop.errors import InvalidArgument, PermissionDenied
from outcrop.proto.chunks import Chunk
from outcrop.server.archive_reading import archive_chunks
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.identity import Identity
from outcrop.server.jobs import Jobs
from outcrop.server.services.indexes import first_problems
from outcrop.server.uploads import Upload
from outcrop.server.work import Work, budget
from outcrop.store.snapshots import SnapshotArchive
from outcrop.types import RestoreReport, SnapshotInfo, SnapshotOrPath, SnapshotReport
from outcrop.v1 import snapshot_pb2 as pb
from outcrop.v1.common_pb2 import ObjectName

_ARCHIVE = "archive"


class SnapshotService:
    """See proto/outcrop/v1/snapshot.proto."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._database, self._jobs = engine.database, jobs
        jobs.register("verify_snapshot", pb.VerifySnapshotRequest, self._verify)
        jobs.register("restore_snapshot", pb.RestoreSnapshotRequest, self._restore)

    async def create_snapshot(self, request: pb.CreateSnapshotRequest, call: Call) -> pb.CreateSnapshotResponse:
        """Keep the current versions of objects; without any, of all that the caller may see."""
        make = partial(snapshots.create_snapshot, self._database.connection, sees=call.identity.sees)
        return pb.CreateSnapshotResponse(snapshot=_message(await call.run(make, request.name, _keys(request.objects))))

    async def get_snapshot(self, request: pb.GetSnapshotRequest, call: Call) -> pb.GetSnapshotResponse:
        """Return what a snapshot keeps."""
        return pb.GetSnapshotResponse(snapshot=_message(await call.run(self._seen, request.name, call.identity)))

    async def list_snapshots(self, request: pb.ListSnapshotsRequest, call: Call) -> pb.ListSnapshotsResponse:
        """Return those that the caller may see, by name."""
        listed = await call.run(self._database.list_snapshots)
        seen = [_message(each) for each in listed if _is_seen(each, call.identity)]
        return pb.ListSnapshotsResponse(snapshots=seen)

    async def delete_snapshot(self, request: pb.DeleteSnapshotRequest, call: Call) -> pb.DeleteSnapshotResponse:
        """Forget a snapshot."""
        await call.run(self._seen, request.name, call.identity)
        await call.run(self._database.delete_snapshot, request.name)
        return pb.DeleteSnapshotResponse()

    async def verify_snapshot(self, request: pb.VerifySnapshotRequest, call: Call) -> pb.VerifySnapshotResponse:
        """Read every byte."""

        def check() -> None:
            self._seen(request.name, call.identity)
            budget(self._jobs.settings, request.memory_bytes)

        return pb.VerifySnapshotResponse(job=await self._jobs.submit(request, call, check))

    async def restore_snapshot(self, request: pb.RestoreSnapshotRequest, call: Call) -> pb.RestoreSnapshotResponse:
        """Make what a snapshot or an uploaded archive holds current again."""
        check = partial(self._check_restore, request, call.identity)
        return pb.RestoreSnapshotResponse(job=await self._jobs.submit(request, call, check))

    async def download_snapshot(
        self, request: pb.DownloadSnapshotRequest, call: Call
    ) -> AsyncIterator[Chunk[pb.DownloadSnapshotResponse]]:
        """Yield the archive of a snapshot, or a range; the versions stay until the caller has left."""
        with await call.run(self._opened, request, call.identity) as archive:
            head = pb.DownloadSnapshotResponse(size_bytes=archive.size_bytes, etag=archive.etag)
            start = request.offset_bytes
            if start == archive.size_bytes:
                yield Chunk(head, memoryview(b""))
            async for data in archive_chunks(archive, start, start + (request.length_bytes or archive.size_bytes)):
                yield Chunk(head, memoryview(data))
                head = pb.DownloadSnapshotResponse()

    def _seen(self, name: str, identity: Identity) -> SnapshotInfo:
        found = self._database.snapshot(name)
        if not _is_seen(found, identity):
            raise PermissionDenied(f"snapshots/{name} holds objects that are not in the scope of {identity.name}")
        return found

    def _opened(self, request: pb.DownloadSnapshotRequest, identity: Identity) -> SnapshotArchive:
        self._seen(request.name, identity)
        archive = self._database.snapshot_archive(request.name)
        try:
            if request.etag not in ("", archive.etag):
                raise InvalidArgument(
                    f"snapshot {request.name!r}: it was made anew since the download began: expected etag "
                    f"{archive.etag}, found {request.etag!r}; begin again"
                )
            if request.offset_bytes > archive.size_bytes:
                raise InvalidArgument(
                    f"offset_bytes: expected at most {archive.size_bytes}, found {request.offset_bytes}"
                )
        except BaseException:
            archive.close()
            raise
        return archive

    def _check_restore(self, request: pb.RestoreSnapshotRequest, identity: Identity) -> None:
        """Raise what can be found before any work, of a snapshot's objects and of the names that they get."""
        if bool(request.name) == bool(request.upload_id):
            raise InvalidArgument("restore: expected a snapshot's name or an upload, one of the two")
        if request.name:
            self._seen(request.name, identity)
            source: SnapshotOrPath = request.name
        else:
            source = _archive(self._jobs.uploads.get(request.upload_id, identity.name))
        names = snapshots.restored_names(
            self._database.connection, source, dict(request.rename), _keys(request.objects)
        )
        for kind, _, new_name in names:
            if not identity.sees(kind, new_name):
                raise PermissionDenied(f"{kind}/{new_name} is not in the scope of {identity.name}")

    def _restore(self, request: pb.RestoreSnapshotRequest, work: Work) -> RestoreReport:
        source = request.name or _archive(work.upload(request.upload_id))
        return work.follow(
            self._database.restore_snapshot(source, rename=dict(request.rename), objects=_keys(request.objects))
        )

    def _verify(self, request: pb.VerifySnapshotRequest, work: Work) -> SnapshotReport:
        memory = work.memory_bytes(request.memory_bytes)
        report = work.follow(self._database.verify_snapshot(request.name, memory=memory))
        return dataclasses.replace(report, problems=first_problems(report.problems))


def _archive(upload: Upload) -> SnapshotOrPath:
    return upload.path(_ARCHIVE)


def _is_seen(snapshot: SnapshotInfo, identity: Identity) -> bool:
    return identity.sees("snapshots", snapshot.name) and all(
        identity.sees(each.kind, each.name) for each in snapshot.objects
    )


def _keys(objects: Sequence[ObjectName]) -> list[tuple[str, str]] | None:
    return [(each.kind, each.name) for each in objects] or None


def _message(snapshot: SnapshotInfo) -> pb.Snapshot:
    return pb.Snapshot(
        name=snapshot.name,
        created_unix=snapshot.created_unix,
        objects=[
            pb.SnapshotObject(
                object=ObjectName(kind=each.kind, name=each.name), version=each.version, size_bytes=each.size_bytes
            )
            for each in snapshot.objects
        ],
        size_bytes=snapshot.size_bytes,
    )
