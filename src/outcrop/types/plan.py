"""A plan in figures: what it holds, what an epoch will cost, what making it did cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from outcrop.types.byte_sizes import format_bytes
from outcrop.types.device import DeviceModel


@dataclass(frozen=True, slots=True)
class CurvePoints:
    """A miss curve in plain values: rows of cache, and the rows missed with it."""

    num_rows: int
    accesses: int
    capacities: tuple[int, ...]
    misses: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CurvePoints":
        """The inverse of `to_json`."""
        return cls(fields["num_rows"], fields["accesses"], tuple(fields["capacities"]), tuple(fields["misses"]))


@dataclass(frozen=True, slots=True)
class PlanCost:
    """What making the plan took: seconds by stage, and bytes of rows read and written by packing.

    temporary_bytes: on disk while packing, beside the plan.
    """

    sample_seconds: float
    schedule_seconds: float
    pack_seconds: float
    read_bytes: int
    written_bytes: int
    temporary_bytes: int


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One feature table in a plan; rows and bytes are those of one epoch, on average, of all shards together.

    table_bytes: coded. cache_rows, cache_bytes: of each shard's cache. pinned_rows: of all caches, those that are
    loaded when a loader begins, and stay. hit_ratio: of the rows wanted. curve: rows missed, over all epochs, by rows
    of a cache that begins empty.
    """

    name: str
    node_type: str
    codec: str
    row_bytes: int
    table_bytes: int
    cache_rows: int
    cache_bytes: int
    pinned_rows: int
    rows_wanted: float
    rows_missed: float
    hit_ratio: float
    log_bytes: float
    curve: CurvePoints


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan in figures. Times in seconds, sizes in bytes, per epoch where they say so.

    read_bytes, read_seconds: what an epoch reads (log and minibatches), and what the device needs for it.
    random_seconds: what reading each missed row by itself would take. disk_multiple: the plan's size, by that of the
    tables. cost: of making it.
    """

    name: str
    num_shards: int
    num_epochs: int
    num_minibatches: int
    streams: tuple[StreamReport, ...]
    cache_bytes: int
    disk_bytes: int
    disk_multiple: float
    minibatch_bytes: int
    read_bytes: float
    read_seconds: float
    random_seconds: float
    device: DeviceModel
    cost: PlanCost
    made_from: Mapping[str, object]

    def __str__(self) -> str:
        """What matters, as lines of text."""
        cost = self.cost
        lines = [
            f"plan {self.name}: {self.num_epochs} epochs, {self.num_minibatches:,} minibatches, "
            f"{self.num_shards} shards, {format_bytes(self.disk_bytes)} ({self.disk_multiple:.2f} times the tables)",
            f"an epoch reads {format_bytes(int(self.read_bytes))} one after the other: {self.read_seconds:.2f} s; "
            f"row by row {self.random_seconds:.1f} s",
            f"making it took {cost.sample_seconds + cost.schedule_seconds + cost.pack_seconds:.1f} s "
            f"(packing {cost.pack_seconds:.1f} s, {format_bytes(cost.written_bytes)} written)",
        ]
        return "\n".join(lines + [line for stream in self.streams for line in _stream_lines(stream, self.num_epochs)])


def _stream_lines(stream: StreamReport, num_epochs: int) -> list[str]:
    lines = [
        f"{stream.name} ({stream.node_type}): {stream.hit_ratio:.1%} of {stream.rows_wanted:,.0f} rows from "
        f"{format_bytes(stream.cache_bytes)} of memory, {stream.rows_missed:,.0f} from the log"
    ]
    for rows, misses in zip(stream.curve.capacities, stream.curve.misses, strict=True):
        share = rows / max(1, stream.curve.num_rows)
        lines.append(f"  a cache of {share:6.1%} of the table would miss {misses / num_epochs:14,.0f}")
    return lines
