"""What is in a plan, what will an epoch cost, and what would another cache cost? All from the manifest: nothing is
read."""

from collections.abc import Mapping
from dataclasses import dataclass

from outcrop.gnn_loader.plan_properties import CurvePoints, PlanCost, PlanProperties, StreamProperties
from outcrop.store import DeviceModel, format_bytes


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


def explain(name: str, properties: PlanProperties, disk_bytes: int, device: DeviceModel) -> PlanReport:
    """Return the report of a plan. disk_bytes: of its files. device: what the device charges."""
    epochs = properties.num_epochs
    streams = tuple(_stream(stream, epochs) for stream in properties.streams)
    log_bytes = sum(s.log_bytes - s.pinned_bytes for s in properties.streams)
    read_bytes = (log_bytes + properties.minibatch_bytes) / epochs
    random_us = sum(
        s.misses / epochs * max(device.read_cost_us, s.row_bytes * device.byte_cost_us) for s in properties.streams
    )
    return PlanReport(
        name=name,
        num_shards=len(properties.shards),
        num_epochs=epochs,
        num_minibatches=properties.num_minibatches,
        streams=streams,
        cache_bytes=properties.cache_bytes,
        disk_bytes=disk_bytes,
        disk_multiple=disk_bytes / max(1, sum(s.table_bytes for s in streams)),
        minibatch_bytes=properties.minibatch_bytes,
        read_bytes=read_bytes,
        read_seconds=read_bytes * device.byte_cost_us / 1e6,
        random_seconds=random_us / 1e6,
        device=device,
        cost=properties.cost,
        made_from=properties.fingerprint,
    )


def _stream_lines(stream: StreamReport, num_epochs: int) -> list[str]:
    lines = [
        f"{stream.name} ({stream.node_type}): {stream.hit_ratio:.1%} of {stream.rows_wanted:,.0f} rows from "
        f"{format_bytes(stream.cache_bytes)} of memory, {stream.rows_missed:,.0f} from the log"
    ]
    for rows, misses in zip(stream.curve.capacities, stream.curve.misses, strict=True):
        share = rows / max(1, stream.curve.num_rows)
        lines.append(f"  a cache of {share:6.1%} of the table would miss {misses / num_epochs:14,.0f}")
    return lines


def _stream(stream: StreamProperties, epochs: int) -> StreamReport:
    return StreamReport(
        name=stream.name,
        node_type=stream.node_type,
        codec=str(stream.codec["codec"]),
        row_bytes=stream.row_bytes,
        table_bytes=stream.num_rows * stream.row_bytes,
        cache_rows=stream.num_slots,
        cache_bytes=stream.num_slots * stream.row_bytes,
        pinned_rows=sum(count for count, _ in stream.pinned),
        rows_wanted=stream.accesses / epochs,
        rows_missed=stream.misses / epochs,
        hit_ratio=1 - stream.misses / max(1, stream.accesses),
        log_bytes=(stream.log_bytes - stream.pinned_bytes) / epochs,
        curve=stream.curve,
    )
