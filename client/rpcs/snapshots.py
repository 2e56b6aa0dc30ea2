"""Making, finding, dropping, verifying and restoring snapshots; their archives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outcrop.client.rpc import Feed, Rpc
from outcrop.errors import InvalidArgument, OutcropError
from outcrop.proto.chunks import Chunk
from outcrop.types import SnapshotInfo, SnapshotObject
from outcrop.v1 import snapshot_pb2 as pb
from outcrop.v1.common_pb2 import ObjectName


@dataclass(frozen=True, slots=True)
class ArchiveHead:
    """What is known of an archive before its bytes come."""

    size_bytes: int
    etag: str


def create(name: str, objects: Sequence[tuple[str, str]] | None) -> Rpc[SnapshotInfo]:
    """Keep the current versions of objects, by (kind, name); None is all that the key may see.

    Raises InvalidArgument for a list without any, which would mean all of them on the wire.
    """
    _check_some(objects, f"snapshot {name!r}: expected at least one object with a version, found none")
    request = pb.CreateSnapshotRequest(name=name, objects=_names(objects))
    return Rpc(request, lambda response: _info(response.snapshot))


def get(name: str) -> Rpc[SnapshotInfo]:
    """Ask what a snapshot keeps."""
    return Rpc(pb.GetSnapshotRequest(name=name), lambda response: _info(response.snapshot))


def infos() -> Rpc[list[SnapshotInfo]]:
    """List all that the key may see."""
    return Rpc(pb.ListSnapshotsRequest(), lambda response: [_info(snapshot) for snapshot in response.snapshots])


def delete(name: str) -> Rpc[None]:
    """Forget a snapshot."""
    return Rpc(pb.DeleteSnapshotRequest(name=name), lambda _: None)


def verify(name: str, memory_bytes: int, job_id: str) -> Rpc[None]:
    """Begin a job that reads every byte."""
    return Rpc(pb.VerifySnapshotRequest(name=name, memory_bytes=memory_bytes, job_id=job_id), lambda _: None)


def restore(
    source: Mapping[str, str], rename: Mapping[str, str], objects: Sequence[tuple[str, str]] | None, job_id: str
) -> Rpc[None]:
    """Begin a job that restores. source: {"name": ...} or {"upload_id": ...}. Raises InvalidArgument, as `create`."""
    _check_some(objects, "restore: expected at least one object, found none")
    request = pb.RestoreSnapshotRequest(**source, rename=rename, objects=_names(objects), job_id=job_id)
    return Rpc(request, lambda _: None)


class Opening(Feed[ArchiveHead]):
    """How long an archive is, and its etag."""

    def __init__(self, name: str) -> None:
        self._name = name

    def request(self) -> pb.DownloadSnapshotRequest:
        """Ask for a byte: the first message has what is wanted."""
        return pb.DownloadSnapshotRequest(name=self._name, length_bytes=1)

    def read(self, response: Chunk[pb.DownloadSnapshotResponse]) -> ArchiveHead:
        """Return what the first message says."""
        return ArchiveHead(response.head.size_bytes, response.head.etag)


class Download(Feed[memoryview]):
    """Bytes [start, stop) of an archive, in pieces; taken up where they broke off."""

    def __init__(self, name: str, head: ArchiveHead, start: int, stop: int) -> None:
        self._name, self._head = name, head
        self._next, self._stop = start, min(stop, head.size_bytes)

    @property
    def complete(self) -> bool:
        """Whether the last byte has come."""
        return self._next >= self._stop

    def request(self) -> pb.DownloadSnapshotRequest:
        """Return what is left, of the archive that was begun with."""
        return pb.DownloadSnapshotRequest(
            name=self._name, offset_bytes=self._next, length_bytes=self._stop - self._next, etag=self._head.etag
        )

    def read(self, response: Chunk[pb.DownloadSnapshotResponse]) -> memoryview:
        """Return the bytes of a message."""
        self._next += len(response.data)
        return response.data

    def end(self) -> None:
        """Raise unless the last byte has come."""
        if not self.complete:
            raise OutcropError(
                f"snapshot {self._name!r}: the archive ended at {self._next}, expected {self._stop} bytes"
            )


def _check_some(objects: Sequence[tuple[str, str]] | None, message: str) -> None:
    if objects is not None and not objects:
        raise InvalidArgument(message)


def _names(objects: Sequence[tuple[str, str]] | None) -> list[ObjectName]:
    return [ObjectName(kind=kind, name=name) for kind, name in objects or ()]


def _info(snapshot: pb.Snapshot) -> SnapshotInfo:
    objects = tuple(
        SnapshotObject(each.object.kind, each.object.name, each.version, each.size_bytes) for each in snapshot.objects
    )
    return SnapshotInfo(snapshot.name, snapshot.created_unix, objects)
