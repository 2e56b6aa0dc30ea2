"""What is in a plan, what will an epoch cost, and what would another cache cost? All from the manifest: nothing is
read."""

from outcrop.gnn_loader.plan_properties import PlanProperties, StreamProperties
from outcrop.store import DeviceModel
from outcrop.types import PlanReport, StreamReport


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
