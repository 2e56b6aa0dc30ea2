"""What did a loader do, how much of it from memory, and who waited for whom?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.gnn_loader.plan_layout import PlannedStream


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """Rows of one feature table by where they came from; row_bytes is what each of them costs on disk and in memory."""

    row_bytes: int
    hit_rows: int
    log_rows: int
    inserted_rows: int


@dataclass(frozen=True, slots=True)
class LoaderStatistics:
    """What a loader has done since it was opened; all zero before.

    streams: by table. device_*: reads of logs and records. trainer_waits: how often a minibatch was not ready when it
    was asked for, and for how long: the stall. reader_waits: how often there was no free slot to read into, because the
    trainer was slower. gather_seconds, insert_seconds: of the assembling thread. mean_ready: minibatches that
    were ready when one was asked for.
    """

    minibatches: int
    streams: dict[str, StreamCounts]
    device_reads: int
    device_bytes: int
    trainer_waits: int
    trainer_wait_seconds: float
    reader_waits: int
    reader_wait_seconds: float
    gather_seconds: float
    insert_seconds: float
    mean_ready: float
    memory_bytes: int

    @classmethod
    def nothing(cls) -> "LoaderStatistics":
        """Before anything was done."""
        return cls(0, {}, 0, 0, 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0)

    @classmethod
    def of(cls, counters: Mapping[str, Any], streams: Sequence[PlannedStream], memory_bytes: int) -> "LoaderStatistics":
        """Return the counters of a `native.PlannedPipeline`, by name."""
        by_stream = zip(streams, counters["hit_rows"], counters["log_rows"], counters["inserted_rows"], strict=True)
        return cls(
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
