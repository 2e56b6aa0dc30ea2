"""The server itself, and what is looked after in its root."""

from outcrop.client.rpc import Rpc
from outcrop.types import ServerInfo, ServerLimits
from outcrop.v1 import admin_pb2 as pb
from outcrop.v1.access_pb2 import Role
from outcrop.v1.common_pb2 import ObjectName
from outcrop.v1.job_pb2 import Job


def server_info() -> Rpc[ServerInfo]:
    """Ask what the server is, and what it allows."""
    return Rpc(pb.GetServerInfoRequest(), _info)


def verify(kind: str, name: str, memory_bytes: int) -> Rpc[Job]:
    """Read every byte of a graph, a feature table or a plan."""
    request = pb.VerifyRequest(object=ObjectName(kind=kind, name=name), memory_bytes=memory_bytes)
    return Rpc(request, lambda response: response.job)


def collect_garbage() -> Rpc[list[str]]:
    """Remove what nobody needs."""
    return Rpc(pb.CollectGarbageRequest(), lambda response: list(response.removed))


def _info(response: pb.GetServerInfoResponse) -> ServerInfo:
    limits = response.limits
    return ServerInfo(
        version=response.version,
        reader=response.reader,
        reader_reason=response.reader_reason,
        instructions=response.instructions,
        limits=ServerLimits(
            message_bytes=limits.message_bytes,
            k=limits.k,
            queries=limits.queries,
            dimension=limits.dimension,
            chunk_bytes=limits.chunk_bytes,
            longest_deadline_seconds=limits.longest_deadline_seconds,
        ),
        role=Role.Name(response.role).removeprefix("ROLE_").lower(),
        process=response.process,
        writer=response.writer,
        workers=response.workers,
        started_unix=response.started_unix,
    )
