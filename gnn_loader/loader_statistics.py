"""What did a loader do, how much of it from memory, and who waited for whom?"""

from collections.abc import Mapping, Sequence
from typing import Any

from outcrop.gnn_loader.plan_layout import PlannedStream
from outcrop.types import LoaderStatistics, StreamCounts


def loader_statistics(
    counters: Mapping[str, Any], streams: Sequence[PlannedStream], memory_bytes: int
) -> LoaderStatistics:
    """Return the counters of a `native.PlannedPipeline`, by name."""
    by_stream = zip(streams, counters["hit_rows"], counters["log_rows"], counters["inserted_rows"], strict=True)
    return LoaderStatistics(
        minibatches=counters["minibatches"],
        streams={stream.name: StreamCounts(stream.codec.row_bytes, *counts) for stream, *counts in by_stream},
        device_reads=counters["device_reads"],
        device_bytes=counters["device_bytes"],
        trainer_waits=counters["consumer_waits"],
        trainer_wait_seconds=counters["consumer_ns"] / 1e9,
        reader_waits=counters["producer_waits"],
        reader_wait_seconds=counters["producer_ns"] / 1e9,
        gather_seconds=counters["gather_ns"] / 1e9,
        insert_seconds=counters["finish_ns"] / 1e9,
        mean_ready=counters["ready_sum"] / max(1, counters["minibatches"]),
        memory_bytes=memory_bytes,
    )
