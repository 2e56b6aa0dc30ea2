"""What a server says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes. message_bytes: of a unary request. k, queries: of a search. dimension: of vectors.
    chunk_bytes: of a message of a stream. longest_deadline_seconds: a unary call that states more is cut to it."""

    message_bytes: int
    k: int
    queries: int
    dimension: int
    chunk_bytes: int
    longest_deadline_seconds: float


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is. reader: io_uring, pread or memory, and why. instructions: those that its kernels use. role: of
    the caller: read, write or admin. process: the one that answered; writer: whether it is the one that writes."""

    version: str
    reader: str
    reader_reason: str
    instructions: str
    limits: ServerLimits
    role: str
    process: int
    writer: bool
    workers: int
    started_unix: float


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """Counters of one process since it began.

    calls: that have ended, by RPC. codes: the same, by the name of their status. memory_bytes: what opened objects
    hold. jobs: by state; none where another process does them. num_objects: by kind. disk_bytes: of all versions.
    """

    uptime_seconds: float
    resident_bytes: int
    memory_bytes: int
    calls: Mapping[str, int]
    codes: Mapping[str, int]
    in_flight: int
    queue_calls: int
    queue_bytes: int
    shed: Mapping[str, int]
    jobs: Mapping[str, int]
    num_objects: Mapping[str, int]
    num_versions: int
    disk_bytes: int
