"""What loaders are told, and what they have done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from outcrop.errors import InvalidArgument
from outcrop.types.byte_sizes import parse_budget
from outcrop.types.progress import Progress
from outcrop.types.tiers import TierStatistics

ScoreKind = Literal["sampled", "pagerank", "degree", "none"]


@dataclass(frozen=True, slots=True)
class OnlineOptions:
    """How far ahead, and what each tier gets.

    cache_memory: bytes, or text such as "512MiB", for cached rows, the victim buffer's part in memory, and the tables
    over all rows (about 14 bytes each). window: minibatches that are sampled and announced before the oldest of them is
    read. scores: what ranks rows that no announced minibatch wants, see `first_scores`; from the second epoch on it is
    how often they were asked for. num_sampled: minibatches sampled for the first ranking. victim_memory: of
    `cache_memory`; None for an eighth, 0 for no victim buffer. victim_disk: of its scratch file in `scratch_folder`;
    None for as much as the features have, and at most a quarter of what is free. Without a folder there is no such
    file. longest_group: minibatches whose missing rows one sweep of the file may fetch. slots: minibatches whose
    features exist at one time: one being read, the others ready or with the caller. threads: of the sampler.
    """

    cache_memory: int | str
    window: int = 8
    scores: ScoreKind = "sampled"
    num_sampled: int = 4
    victim_memory: int | str | None = None
    victim_disk: int | str | None = None
    scratch_folder: Path | None = None
    longest_group: int = 8
    slots: int = 3
    threads: int = 1
    reader: str = "auto"

    def __post_init__(self) -> None:
        for name in ("window", "slots", "threads", "longest_group"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.slots < 2:
            raise InvalidArgument("slots: expected at least 2, one for the caller and one to read into, found 1")
        if self.victim_disk is not None and parse_budget(self.victim_disk) and self.scratch_folder is None:
            raise InvalidArgument("victim_disk: a scratch file needs a scratch_folder, found None")


@dataclass(frozen=True, slots=True)
class OnlineStatistics:
    """What happened since the loader was opened, or told to go on from a state.

    tiers: by table. sampling_seconds, reading_seconds: of the two threads, which work at the same time.
    stalls, stall_seconds: times that the caller waited for a minibatch. idle_seconds: that reading waited for a buffer,
    because the caller was busy. ready_sum: of the minibatches found ready at each request; divided by `minibatches` it
    is the mean depth of the queue. buffer_bytes: of features given out, recycled.
    """

    minibatches: int
    tiers: Mapping[str, TierStatistics]
    sampling_seconds: float
    reading_seconds: float
    stalls: int
    stall_seconds: float
    idle_seconds: float
    ready_sum: int
    buffer_bytes: int


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


@dataclass(frozen=True, slots=True)
class FreshEpoch:
    """How the plan of one epoch came about.

    making_seconds: from sampling to the last byte. waited_seconds: how much of that the trainer waited for, when it
    wanted the first minibatch. misses, accesses: rows. log_bytes: written for it.
    """

    epoch: int
    making_seconds: float
    waited_seconds: float
    misses: int
    accesses: int
    log_bytes: int

    @property
    def hidden(self) -> float:
        """The part of the work, 0 to 1, that went on behind training."""
        return max(0.0, 1.0 - self.waited_seconds / self.making_seconds) if self.making_seconds else 1.0


@dataclass(frozen=True, slots=True)
class FreshStatistics:
    """epochs: those that were begun. loader: of the epoch under way. making: of the next one, None where there is
    none."""

    epochs: tuple[FreshEpoch, ...]
    loader: LoaderStatistics
    making: Progress | None
