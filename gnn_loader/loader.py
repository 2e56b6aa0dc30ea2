"""A plan's minibatches, loaded ahead of the trainer: rows of the log in the order of use, rows of the cache in memory.

    with PlannedLoader(layout, memory=1 << 30) as loader:
        for minibatch in loader:                    # one epoch
            train(minibatch.features["papers"])

Arrays are views of memory that is used again: keep none of them for long, copy what you keep.
"""

import contextlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.cache_restore import restore_caches
from outcrop.gnn_loader.format import unpack
from outcrop.gnn_loader.loader_statistics import loader_statistics
from outcrop.gnn_loader.plan_layout import OFFSETS, RECORDS, PlanLayout, PlannedStream
from outcrop.gnn_loader.planned_minibatch import planned_minibatch
from outcrop.stop import Stop, check, words_of
from outcrop.store import Accountant, Root, StorageReader, StoredFile
from outcrop.types import AnyArray, Int64Array, LoaderStatistics, Minibatch

# A plan is gone through again and again; 2^31 times is for ever, and positions stay within 64 bits.
_PASSES = 1 << 31
_BUFFER_BYTES = 1 << 20

# What a forked child inherited and must neither use nor close: threads and rings of its parent.
_abandoned: list[Any] = []


@dataclass(slots=True)
class _Opened:
    """What belongs to one process."""

    process: int
    resources: contextlib.ExitStack
    pipeline: native.PlannedPipeline
    slabs: list[native.RowSlab]


class PlannedLoader:
    """Minibatches of one shard of a plan, in its order. A context manager and an iterable over one epoch at a time.

    An iteration ends with the epoch; the next one takes the plan's next epoch, after the last the first again. Left
    early, an iteration is taken up where it was left. Nothing is opened before the first minibatch is asked for, so a
    loader may be pickled or forked until then, and also later: the other process opens its own.
    """

    def __init__(
        self,
        plan: PlanLayout,
        *,
        shard: int = 0,
        memory: int | None = None,
        slots: int = 3,
        threads: int = 1,
        decode: bool = True,
        reader: str = "auto",
        passes: int | None = None,
        caches: Sequence[native.RowSlab] | None = None,
    ) -> None:
        """Choose what to load.

        shard: whose minibatches. memory: a budget for cached rows, slots and tables; None takes what is needed. slots:
        minibatches in memory at once, the one in use included; with 3, reading goes on while one is in use and one is
        ready. threads: that assemble a minibatch. decode: coded rows come as float32; False leaves their bytes.
        reader: see `StorageReader`. passes: how often the plan is gone through; None has no end. caches: what
        `take_caches` of another loader gave, for a plan that goes on where that one's plan ended; once, from its begin.
        Raises InvalidArgument.
        """
        if slots < 2:
            raise InvalidArgument(f"slots: expected at least 2, one in use and one being loaded, found {slots}")
        if threads < 1:
            raise InvalidArgument(f"threads: expected at least 1, found {threads}")
        self.plan, self.shard, self.memory = plan, shard, memory
        self.slots, self.threads, self.decode, self.reader = slots, threads, decode, reader
        self._epochs = plan.epochs(shard)
        self.passes = passes
        self._caches = None if caches is None else list(caches)
        self._position = 0
        self._opened: _Opened | None = None
        if passes is not None and passes < 1:
            raise InvalidArgument(f"passes: expected at least 1, or None for no end, found {passes}")
        if plan.carried and self._caches is None:
            raise InvalidArgument(f"plan {plan.name!r} goes on from the caches of another plan: pass caches")
        if self._caches is not None:
            _check_caches(self._caches, plan, passes)
        if self.num_minibatches < 1:
            raise InvalidArgument(f"plan {plan.name!r}: shard {shard} has no minibatches")

    @property
    def num_minibatches(self) -> int:
        """Of the shard, in all epochs of the plan."""
        return self._epochs[-1] - self._epochs[0]

    @property
    def position(self) -> int:
        """How many minibatches have been given out, counted from the plan's begin and through all passes."""
        return self._position

    @property
    def left_in_epoch(self) -> int:
        """Minibatches of the epoch under way that are still to come; none behind the last pass."""
        return 0 if self._is_over() else self._epochs[self._epoch() + 1] - self._record(self._position)

    def __len__(self) -> int:
        """Return the number of minibatches in the epoch under way."""
        epoch = self._epoch()
        return self._epochs[epoch + 1] - self._epochs[epoch]

    def __iter__(self) -> Iterator[Minibatch]:
        """Load what is left of the epoch under way. Raises as `next_minibatch` does."""
        end = self._position + self.left_in_epoch
        while self._position < end:
            yield self.next_minibatch()  # in no variable of this frame: that would hold its slot

    def next_minibatch(self, *, stop: Stop | None = None) -> Minibatch:
        """Wait for the next minibatch of the sequence.

        stop: ends the waiting, not the loader: the next call waits for the same minibatch.
        Raises DeadlineExceeded and Cancelled by it, CorruptFile, StorageFailure, NotFound when the plan is gone,
        InvalidArgument behind the last pass, and ResourceExhausted when the budget is too small or when all slots hold
        minibatches that are still referenced.
        """
        if self._is_over():
            raise InvalidArgument(f"plan {self.plan.name!r}: all minibatches of {self.passes} passes have been loaded")
        check(stop)
        opened = self._open(stop)
        loaded = opened.pipeline.next(words_of(stop))
        assert loaded is not None, "the position is before the end"
        assert loaded.position == self._position
        minibatch = self._minibatch(loaded)
        self._position += 1
        return minibatch

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: plain values, for `load_state_dict` of a loader of the same plan."""
        return {
            "plan": self.plan.plan_id,
            "version": self.plan.version,
            "shard": self.shard,
            "num_shards": len(self.plan.shards),
            "position": self._position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, in the middle of an epoch too: the next minibatch is the one it had next.

        The cache is filled with what it held there, by reading. Raises InvalidArgument for the state of another plan,
        version or shard.
        """
        expected = self.state_dict() | {"position": state.get("position")}
        if state != expected or not isinstance(state["position"], int) or state["position"] < 0:
            raise InvalidArgument(f"state of a loader: expected {expected} with a position, found {state}")
        self.close()
        self._position = state["position"]

    def take_caches(self) -> list[native.RowSlab]:
        """Close the loader and return the cached rows of each table, for the loader of a plan that goes on from here.

        Raises InvalidArgument before the last minibatch of the last pass has been given out.
        """
        if not self._is_over() or self._opened is None:
            raise InvalidArgument("caches: they are another loader's when all minibatches of all passes are loaded")
        slabs = self._opened.slabs
        self.close()
        return slabs

    def statistics(self) -> LoaderStatistics:
        """Return what was done since the loader was opened in this process."""
        if self._opened is None or self._opened.process != os.getpid():
            return LoaderStatistics.nothing()
        held = self._opened.pipeline.buffer_bytes + sum(slab.size_bytes for slab in self._opened.slabs)
        return loader_statistics(self._opened.pipeline.counters(), self.plan.streams, held)

    def close(self) -> None:
        """End the threads and give memory and files back. Minibatches in use stay valid; a later one opens again."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if opened.process != os.getpid():
            _abandoned.append(opened)
            return
        opened.pipeline.close()
        opened.resources.close()

    def __enter__(self) -> "PlannedLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    # Where in the sequence

    def _record(self, position: int) -> int:
        """The plan's record at a position of the sequence."""
        return self._epochs[0] + position % self.num_minibatches

    def _is_over(self) -> bool:
        return self.passes is not None and self._position >= self.passes * self.num_minibatches

    def _epoch(self) -> int:
        return bisect_right(self._epochs, self._record(self._position)) - 1

    # Opening

    def _open(self, stop: Stop | None) -> _Opened:
        if self._opened is not None and self._opened.process != os.getpid():
            self.close()
        if self._opened is None:
            with contextlib.ExitStack() as stack:
                self._opened = self._start(stack, stop)
                self._opened.resources = stack.pop_all()
        return self._opened

    def _start(self, stack: contextlib.ExitStack, stop: Stop | None) -> _Opened:
        budget = Accountant(self.memory if self.memory is not None else 1 << 62)
        root = stack.enter_context(Root.open(self.plan.root, read_only=True))
        lease = stack.enter_context(root.open_version(self.plan.plan_id, self.plan.version))
        storage = stack.enter_context(StorageReader(budget, self.reader, buffer_bytes=_BUFFER_BYTES))

        def open_file(name: str) -> StoredFile:
            return stack.enter_context(storage.open(lease.path(name), lease.manifest.file(name)))

        records, logs = open_file(RECORDS), [open_file(stream.log) for stream in self.plan.streams]
        offsets = self._offsets(open_file(OFFSETS))
        slabs = self._slabs(budget, stack)
        if self._caches is None:
            pinned = [stream.pinned[self.shard] if stream.pinned else (0, 0) for stream in self.plan.streams]
            known = offsets[: self._position % self.num_minibatches + 1]
            restore_caches(slabs, pinned, records, logs, known, stop)
        slots = stack.enter_context(budget.reserve("minibatch slots", self._slot_bytes(offsets)))
        pipeline = native.PlannedPipeline(
            storage.native,
            records.native,
            offsets,
            [log.native for log in logs],
            [self._assembler(stream, slab) for stream, slab in zip(self.plan.streams, slabs, strict=True)],
            list(self.plan.node_counts.values()),
            len(self.plan.edge_types),
            [stream.max_rows for stream in self.plan.streams],
            num_slots=self.slots,
            passes=self.passes or _PASSES,
            start=self._position,
        )
        slots.resize(pipeline.buffer_bytes)
        return _Opened(os.getpid(), stack, pipeline, slabs)

    def _slabs(self, budget: Accountant, stack: contextlib.ExitStack) -> list[native.RowSlab]:
        for stream in self.plan.streams:
            stack.enter_context(budget.reserve("row cache", stream.num_slots * stream.codec.row_bytes))
        if self._caches is None:
            return [native.RowSlab(stream.num_slots, stream.codec.row_bytes) for stream in self.plan.streams]
        if self._position > 0:
            raise InvalidArgument("caches: a plan that began with filled ones cannot be resumed in its middle")
        return self._caches

    def _offsets(self, file: StoredFile) -> Int64Array:
        """Where the shard's records begin, and where the last one ends."""
        first, last = self._epochs[0], self._epochs[-1]
        if file.payload_bytes < 8 * (last + 1):
            raise InvalidArgument(f"plan {self.plan.name!r}: {file.path} has no record {last - 1}")
        return file.read(8 * first, 8 * (last - first + 1)).view(np.int64)

    def _assembler(self, stream: PlannedStream, slab: native.RowSlab) -> native.Assembler:
        decode = self.decode and stream.codec.name != "raw"
        return native.Assembler(slab, stream.codec.name, decode, self.threads)

    def _slot_bytes(self, offsets: Int64Array) -> int:
        """At least what the slots take, to be refused before they are mapped."""
        row_bytes = sum(stream.max_rows * stream.codec.row_bytes for stream in self.plan.streams)
        return self.slots * (row_bytes + int(np.diff(offsets).max()))

    # Minibatches

    def _minibatch(self, loaded: native.PlannedMinibatch) -> Minibatch:
        record = unpack(loaded.record(), RECORDS)
        features = {stream.name: self._rows(stream, loaded.rows(k)) for k, stream in enumerate(self.plan.streams)}
        return planned_minibatch(self.plan, record, features)

    def _rows(self, stream: PlannedStream, rows: AnyArray) -> AnyArray:
        """The slot's rows as they are meant: coded bytes where they were not to be decoded."""
        codec = stream.codec
        if codec.name == "raw":
            return rows.view(codec.dtype).reshape(len(rows), *codec.row_shape)
        return rows.reshape(len(rows), *codec.row_shape) if self.decode else rows


def _check_caches(caches: list[native.RowSlab], plan: PlanLayout, passes: int | None) -> None:
    found = [(slab.num_slots, slab.row_bytes) for slab in caches]
    expected = [(stream.num_slots, stream.codec.row_bytes) for stream in plan.streams]
    if found != expected or passes != 1:
        raise InvalidArgument(
            f"caches: expected slots and bytes of {expected} and one pass, found {found} and {passes} passes"
        )
    if any(count for stream in plan.streams for count, _ in stream.pinned):
        raise InvalidArgument(
            f"caches: plan {plan.name!r} begins with pinned rows of its own; make it with replayed=False"
        )
