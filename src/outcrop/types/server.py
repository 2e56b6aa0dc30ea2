"""What a server says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass


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
