"""A trace becomes the minibatches of a plan: scheduled against caches, renumbered, and written in their order of use.

What the caches miss is noted as keys, segment by segment: the list from which `pack.py` makes the logs.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from outcrop import native
from outcrop.gnn_loader.plan_layout import OFFSETS, RECORDS
from outcrop.gnn_loader.planning.schedule import NextUseFile, rows_to_pin
from outcrop.gnn_loader.planning.trace import Trace
from outcrop.gnn_loader.scores import access_counts, ranked
from outcrop.store import BlockWriter, FileEntry, os_calls, save_array, write_atomically
from outcrop.store.format.block_file import BLOCK_BYTES
from outcrop.types import Int64Array, UInt32Array

_NOTE = "scheduled.json"


@dataclass(frozen=True, slots=True)
class CarriedCache:
    """What a cache of `num_slots` rows holds between two plans, of which the second goes on where the first ends.

    keys, slots: uint32 [n]. Empty before the first plan.
    """

    num_slots: int
    keys: UInt32Array
    slots: UInt32Array


@dataclass(frozen=True, slots=True)
class CachedStream:
    """A node type (by number) whose rows are cached: rows of the table, bytes of a coded row, rows that the cache
    holds. carried: what it holds at first, where other plans come before and after; None for one that stands alone."""

    node_type: int
    num_rows: int
    row_bytes: int
    num_slots: int
    carried: CarriedCache | None = None


@dataclass(slots=True)
class StreamCounts:
    """Of one stream, over all minibatches. max_rows: of any minibatch. log_bytes: the log's payload.

    pinned: by shard, how many rows stay in the first slots for ever, and where they lie in the log.
    """

    accesses: int = 0
    misses: int = 0
    inserts: int = 0
    max_rows: int = 0
    log_bytes: int = 0
    pinned: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What scheduling has written: the plan's two files of minibatches, and the counts of each stream."""

    files: tuple[FileEntry, FileEntry]
    streams: tuple[StreamCounts, ...]
    largest_record_bytes: int


def orders_of_use(num_epochs: int, per_epoch: int, num_shards: int) -> list[list[list[int]]]:
    """Return the positions in the trace of each shard's minibatches, by shard and epoch: dealt round robin."""
    return [
        [list(range(epoch * per_epoch + shard, (epoch + 1) * per_epoch, num_shards)) for epoch in range(num_epochs)]
        for shard in range(num_shards)
    ]


def schedule_trace(
    files_folder: Path,
    scratch: Path,
    trace: Trace,
    orders: Sequence[Sequence[int]],
    streams: Sequence[CachedStream],
    tick: Callable[[float], None],
    replayed: bool = True,
) -> Scheduled:
    """Write RECORDS and OFFSETS to `files_folder`, the missed keys to `scratch`, and a note that it is done.

    orders: positions of the trace, one list for each shard, whose caches begin with what is pinned. replayed: whether
    shards are gone through more than once, so that pinning rows may pay. Memory: 4 bytes per row of the tables for next
    uses, or 4 per row and 24 per slot for caches, or 10 per row of the largest table for choosing what to pin; and one
    minibatch.
    """
    work = _Scheduling(scratch, trace, streams, sum(map(len, orders)), tick, replayed)
    with work, BlockWriter(files_folder / RECORDS, "minibatches") as records:
        for order in orders:
            work.run(order, records)
        entries = records.finish(), _write_offsets(files_folder / OFFSETS, work.begins)
    work.save_segments()
    fields = {
        "files": [entry.to_json() for entry in entries],
        "streams": [asdict(counts) for counts in work.counts],
        "largest_record_bytes": max(map(int, np.diff(work.begins)), default=0),
    }
    write_atomically(scratch / _NOTE, json.dumps(fields).encode())
    tick(1.0)
    return _loaded(fields)


def scheduled_before(scratch: Path) -> Scheduled | None:
    """Return what `schedule_trace` has done there, None when it has not finished."""
    note = scratch / _NOTE
    return _loaded(json.loads(note.read_text())) if note.exists() else None


def missed_keys(scratch: Path, stream: int) -> tuple[UInt32Array, Int64Array, Int64Array]:
    """Return what the log of a stream holds: keys (uint32, mapped), where each segment's keys begin (int64 [n + 1]),
    where its rows go in the log (int64 [n])."""
    path = _keys_path(scratch, stream)
    keys: UInt32Array = np.memmap(path, np.uint32, "r") if path.stat().st_size else np.empty(0, np.uint32)
    segments = np.load(_segments_path(scratch, stream))
    return keys, np.concatenate(([0], np.cumsum(segments[:, 0]))).astype(np.int64), np.ascontiguousarray(segments[:, 1])


def carried_caches(scratch: Path, streams: Sequence[CachedStream]) -> list[CarriedCache | None]:
    """Return what the caches of `schedule_trace` held at the end, for those that are carried."""
    found: list[CarriedCache | None] = []
    for k, stream in enumerate(streams):
        contents = None if stream.carried is None else np.load(_cache_path(scratch, k))
        found.append(None if contents is None else CarriedCache(stream.num_slots, contents[0], contents[1]))
    return found


class _Scheduling:
    """The forward pass of one or more shards, and before each its backward pass."""

    def __init__(
        self,
        scratch: Path,
        trace: Trace,
        streams: Sequence[CachedStream],
        num_minibatches: int,
        tick: Callable[[float], None],
        replayed: bool,
    ) -> None:
        self._scratch, self._trace, self._streams, self._tick = scratch, trace, streams, tick
        self._replayed = replayed
        self._num_steps = max(1, 2 * num_minibatches)
        self._steps = 0
        self.begins = [0]
        self.counts = [StreamCounts() for _ in streams]
        self._segments: list[list[tuple[int, int]]] = [[] for _ in streams]
        self._keys: list[BinaryIO] = []
        self._resources = ExitStack()

    def __enter__(self) -> "_Scheduling":
        for k in range(len(self._streams)):
            self._keys.append(self._resources.enter_context(_keys_path(self._scratch, k).open("wb")))
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def run(self, order: Sequence[int], records: BlockWriter) -> None:
        """Schedule one shard and append its records."""
        pinned = [self._pin(k, stream, order) for k, stream in enumerate(self._streams)]
        with ExitStack() as stack:
            schedulers = [native.Scheduler(s.node_type, s.num_rows, s.num_slots) for s in self._streams]
            for scheduler, keys in zip(schedulers, pinned, strict=True):
                scheduler.cache.pin(keys)
            next_uses = [
                stack.enter_context(self._next_uses(k, stream, order, schedulers[k]))
                for k, stream in enumerate(self._streams)
            ]
            for request, position in enumerate(order):
                minibatch = self._trace.minibatch(position)
                recipes = [
                    self._step(k, scheduler, request, minibatch, future.read(request))
                    for k, (scheduler, future) in enumerate(zip(schedulers, next_uses, strict=True))
                ]
                record = native.write_record(minibatch, recipes)
                records.append(record)
                self.begins.append(self.begins[-1] + len(record))
                self._took_a_step()
        for k, (stream, scheduler) in enumerate(zip(self._streams, schedulers, strict=True)):
            if stream.carried is not None:
                keys, slots, _ = scheduler.cache.contents()
                save_array(_cache_path(self._scratch, k), np.stack([keys, slots]))

    def save_segments(self) -> None:
        """Write down where each segment's rows go, and make that and the keys durable."""
        for k, segments in enumerate(self._segments):
            os_calls.sync_file(_keys_path(self._scratch, k))
            save_array(_segments_path(self._scratch, k), np.array(segments, np.int64).reshape(-1, 2))

    def _pin(self, k: int, stream: CachedStream, order: Sequence[int]) -> UInt32Array:
        """Give the rows that stay in the first slots, in the order of slots, a place of their own in the log."""
        keys, counts = np.zeros(0, np.uint32), self.counts[k]
        if self._replayed and stream.num_slots and stream.carried is None:
            requests = (self._trace.record(position).nodes[stream.node_type] for position in order)
            keys = np.sort(rows_to_pin(requests, stream.num_rows, stream.num_slots))
        begin = -(-counts.log_bytes // BLOCK_BYTES) * BLOCK_BYTES
        counts.pinned.append((len(keys), begin))
        if len(keys):
            keys.tofile(self._keys[k])
            self._segments[k].append((len(keys), begin))
            counts.log_bytes = begin + len(keys) * stream.row_bytes
        return keys

    def _next_uses(
        self, k: int, stream: CachedStream, order: Sequence[int], scheduler: native.Scheduler
    ) -> NextUseFile:
        wanted = [len(self._trace.record(position).nodes[stream.node_type]) for position in order]
        last = native.NEVER if stream.carried is None else native.UNKNOWN
        future = NextUseFile(self._scratch / f"next-uses-{k}", np.array(wanted, np.int64), stream.num_rows, last)
        for request in range(len(order) - 1, -1, -1):
            future.write(request, self._trace.record(order[request]).nodes[stream.node_type])
            if k == 0:
                self._took_a_step()
        if stream.carried is not None:
            requests = (self._trace.record(position).nodes[stream.node_type] for position in order)
            scheduler.cache.set_scores(ranked(access_counts(requests, stream.num_rows)))
            carried = stream.carried
            scheduler.cache.load(carried.keys, carried.slots, future.first_uses(carried.keys))
        future.seal()
        return future

    def _step(
        self,
        k: int,
        scheduler: native.Scheduler,
        request: int,
        minibatch: native.SampledMinibatch,
        next_use: UInt32Array,
    ) -> native.StreamRecipe:
        stream, counts = self._streams[k], self.counts[k]
        recipe = scheduler.step(request, minibatch, next_use)
        counts.log_bytes = recipe.place_in_log(stream.row_bytes, counts.log_bytes)
        nodes, base = minibatch.nodes[stream.node_type], 0
        for num_misses, num_hits, log_offset in recipe.segments.tolist():
            if num_misses:
                nodes[base : base + num_misses].tofile(self._keys[k])
                self._segments[k].append((num_misses, log_offset))
            counts.misses += num_misses
            base += num_misses + num_hits
        counts.accesses += base
        counts.max_rows = max(counts.max_rows, base)
        counts.inserts += len(recipe.insert_rows)
        return recipe

    def _took_a_step(self) -> None:
        self._steps += 1
        self._tick(min(0.99, self._steps / self._num_steps))


def _write_offsets(path: Path, begins: Sequence[int]) -> FileEntry:
    with BlockWriter(path, "offsets") as writer:
        writer.append(np.array(begins, "<i8"))
        return writer.finish()


def _loaded(fields: dict[str, Any]) -> Scheduled:
    first, second = (FileEntry.from_json(entry) for entry in fields["files"])
    streams = tuple(
        StreamCounts(**{**counts, "pinned": [(count, begin) for count, begin in counts["pinned"]]})
        for counts in fields["streams"]
    )
    return Scheduled((first, second), streams, fields["largest_record_bytes"])


def forget_next_uses(scratch: Path, num_streams: int) -> None:
    """Remove what only scheduling needs."""
    for k in range(num_streams):
        os_calls.remove(scratch / f"next-uses-{k}")


def _keys_path(scratch: Path, stream: int) -> Path:
    return scratch / f"missed-{stream}.keys"


def _segments_path(scratch: Path, stream: int) -> Path:
    return scratch / f"missed-{stream}.npy"


def _cache_path(scratch: Path, stream: int) -> Path:
    return scratch / f"cache-{stream}.npy"
