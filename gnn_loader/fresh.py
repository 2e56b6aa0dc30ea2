"""A plan for each epoch, made while the one before it trains: minibatches of a plan, none of them ever repeated.

    with FreshLoader(root, "fresh", source, PlanOptions(cache_bytes=1 << 29)) as loader:
        for epoch in range(10):
            for minibatch in loader:
                train(minibatch.features["x"], minibatch)

    epoch e      |-- trains: plan e ----------------|-- trains: plan e + 1 ------------|
    epoch e + 1  |-- sample, schedule, pack --|     |-- epoch e + 2 ...

The cache is carried on: plan e + 1 begins with the rows that plan e ends with, and rows whose next use e + 1 alone will
know are kept by how often e wanted them. The disk holds two epochs at most.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from outcrop import native
from outcrop.errors import AlreadyExists, InvalidArgument, OutcropError, Unavailable
from outcrop.gnn_loader.graph import Graph
from outcrop.gnn_loader.loader import PlannedLoader
from outcrop.gnn_loader.plan import Plan
from outcrop.gnn_loader.planning.plan_input import PlanOptions, PlanTable
from outcrop.gnn_loader.planning.planner import Planner
from outcrop.gnn_loader.planning.recipes import CarriedCache
from outcrop.gnn_loader.planning.trace import Epochs
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.jobs import Job
from outcrop.stop import Stop, check
from outcrop.store import Root
from outcrop.types import FreshEpoch, FreshStatistics, LoaderStatistics, Minibatch, Progress

_LOOK_UP_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class FreshSource:
    """What plans are made of. graph and tables (by node type) are the caller's, and stay open while the loader is."""

    graph_name: str
    graph: Graph
    tables: Mapping[str, PlanTable]
    sampler: NeighborSampler
    batches: SeedBatches


@dataclass(frozen=True, slots=True)
class _Making:
    """The plan of an epoch, under way. Its result: what the caches hold at its end, and the seconds it took."""

    epoch: int
    job: Job[tuple[dict[str, CarriedCache], float]]


class FreshLoader:
    """Minibatches with features; an iteration is one epoch, or what is left of it. A context manager.

    Minibatch b of epoch e is the one that the sampler draws for (e, b). For one caller at a time.
    """

    def __init__(
        self,
        root: Root,
        name: str,
        source: FreshSource,
        options: PlanOptions,
        *,
        num_epochs: int | None = None,
        slots: int = 3,
        threads: int = 1,
        decode: bool = True,
        reader: str = "auto",
        owned: contextlib.ExitStack | None = None,
    ) -> None:
        """name: of the plan, whose versions are the epochs; what it held is replaced, and it is gone after `close`.

        num_epochs: how many there will be, so that none is made in vain; None when that is open. slots, threads,
        decode: as `PlannedLoader` has them. owned: closed with the loader. Raises InvalidArgument.
        """
        if num_epochs is not None and num_epochs < 1:
            raise InvalidArgument(f"num_epochs: expected at least 1, or None, found {num_epochs}")
        if options.num_shards != 1:
            raise InvalidArgument(
                f"num_shards: expected 1, found {options.num_shards}: a fresh loader has one sequence"
            )
        self._root, self._name, self._source = root, name, source
        self._options = replace(options, replayed=False)
        self._num_epochs, self._reader = num_epochs, reader
        self._loading: dict[str, Any] = {"slots": slots, "threads": threads, "decode": decode, "reader": reader}
        self._owned = owned or contextlib.ExitStack()
        with contextlib.suppress(AlreadyExists):
            root.create("plans", name, {})
        self._process = os.getpid()
        self._position = 0
        self._plan: Plan | None = None
        self._loader: PlannedLoader | None = None
        self._epoch = -1  # of the loader
        self._next: _Making | None = None
        self._begun: list[FreshEpoch] = []
        self._closed = False

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        return self._position

    @property
    def left_in_epoch(self) -> int:
        """Minibatches of the epoch under way that are still to come; none behind the last epoch."""
        return 0 if self._is_over() else len(self) - self._position % len(self)

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        return len(self._source.batches)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield what is left of the epoch under way; nothing when all epochs are over.

        Raises as `Planner.run` and `PlannedLoader.next_minibatch` do.
        """
        self._check_usable()
        end = self._position + self.left_in_epoch
        while self._position < end:
            yield self.next_minibatch()  # in no variable of this frame: that would hold its slot

    def next_minibatch(self, *, stop: Stop | None = None) -> Minibatch:
        """Wait for the next minibatch, and before the first one of an epoch for the epoch's plan.

        stop: ends the waiting, not the work: the next call waits for the same minibatch.
        Raises DeadlineExceeded and Cancelled by it, InvalidArgument behind the last epoch, and as an iteration does.
        """
        self._check_usable()
        check(stop)
        if self._is_over():
            what = f"all minibatches of {self._num_epochs} epochs have been loaded"
            raise InvalidArgument(f"fresh loader: {what if len(self) else 'it has no minibatches'}")
        minibatch = self._enter(self._position // len(self), stop).next_minibatch(stop=stop)
        self._position += 1
        return minibatch

    def _check_usable(self) -> None:
        if self._closed or self._process != os.getpid():
            what = "it is closed" if self._closed else "it belongs to another process; make one in each"
            raise InvalidArgument(f"fresh loader: {what}")

    def _is_over(self) -> bool:
        """Whether there is nothing to come."""
        return not len(self) or (self._num_epochs is not None and self._position >= self._num_epochs * len(self))

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there: the plan of that epoch is made, and the cache begins empty. Raises InvalidArgument."""
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise InvalidArgument(f"state of a loader: expected a position of at least 0, found {state}")
        self._stop()
        self._position = position

    def statistics(self) -> FreshStatistics:
        """Return what was done."""
        loader = LoaderStatistics.nothing() if self._loader is None else self._loader.statistics()
        return FreshStatistics(tuple(self._begun), loader, None if self._next is None else self._next.job.progress)

    def close(self) -> None:
        """Stop making the next plan, close the one under way, and remove them. Twice is allowed."""
        if not self._closed and self._process == os.getpid():
            self._closed = True
            with self._owned:
                self._stop()
                self._root.drop("plans", self._name)
                self._root.gc()

    def __enter__(self) -> "FreshLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- from epoch to epoch

    def _enter(self, epoch: int, stop: Stop | None) -> PlannedLoader:
        """Return the loader of an epoch; when it is the next one, its plan takes the place of the one before."""
        if self._loader is not None and self._epoch == epoch:
            return self._loader
        begin = time.perf_counter()
        ends, seconds = self._made(epoch, stop)
        waited = time.perf_counter() - begin
        self._next = None
        caches = self._leave()
        self._plan = Plan(self._root, self._name, self._root.open_version(self._record_id()), self._reader)
        self._loader = self._loader_of(self._plan, caches)
        self._epoch = epoch
        self._root.gc()  # before the next one is made: two epochs on disk, not three
        streams = self._plan.properties.streams
        self._begun.append(
            FreshEpoch(
                epoch,
                seconds,
                waited,
                sum(stream.misses for stream in streams),
                sum(stream.accesses for stream in streams),
                sum(stream.log_bytes for stream in streams),
            )
        )
        if self._num_epochs is None or epoch + 1 < self._num_epochs:
            self._next = self._make(epoch + 1, ends)
        return self._loader

    def _made(self, epoch: int, stop: Stop | None) -> tuple[dict[str, CarriedCache], float]:
        """Wait for the plan of an epoch, which is being made or begun; it goes on where `stop` ends the waiting."""
        making = self._next = self._next or self._make(epoch, {})
        assert making.epoch == epoch
        while stop is not None and not making.job.done:
            stop.check()
            with contextlib.suppress(Unavailable):  # not done; if that is how it ended, it is raised below
                making.job.wait(_LOOK_UP_SECONDS)
        try:
            return making.job.wait()
        except OutcropError:
            self._next = None  # the next call tries again
            raise

    def _loader_of(self, plan: Plan, caches: list[native.RowSlab] | None) -> PlannedLoader:
        loader = PlannedLoader(plan.layout, passes=1, caches=caches if plan.layout.carried else None, **self._loading)
        if offset := self._position % len(self):
            loader.load_state_dict(loader.state_dict() | {"position": offset})
        return loader

    def _leave(self) -> list[native.RowSlab] | None:
        """Close what was loaded before; return what its caches held."""
        caches = None if self._loader is None else self._loader.take_caches()
        self._loader = None
        if self._plan is not None:
            self._plan.close()
            self._plan = None
        return caches

    def _make(self, epoch: int, carried: Mapping[str, CarriedCache]) -> _Making:
        source = self._source
        planner = Planner(
            source.graph_name,
            source.graph,
            source.tables,
            source.sampler,
            Epochs(source.batches, epoch, 1),
            self._options,
            self._reader,
            carried,
        )
        record_id = self._record_id()

        def run(report: Callable[[Progress], None]) -> tuple[dict[str, CarriedCache], float]:
            begin = time.perf_counter()
            with self._root.begin_version(record_id, planner.job_id(record_id)) as writer:
                try:
                    planner.run(writer, report)
                except BaseException:
                    writer.abort()  # nobody resumes it: the next chain begins with other caches
                    raise
            report(Progress("done", 1.0, 0.0))
            return planner.caches, time.perf_counter() - begin

        return _Making(epoch, Job(f"plan of epoch {epoch}", run))

    def _record_id(self) -> str:
        return self._root.get("plans", self._name).id

    def _stop(self) -> None:
        making, self._next = self._next, None
        if making is not None:
            making.job.cancel()
            with contextlib.suppress(OutcropError):  # whatever ended it, nobody wants the plan any more
                making.job.wait()
        if self._loader is not None:
            self._loader.close()
            self._loader = None
        if self._plan is not None:
            self._plan.close()
            self._plan = None
        self._epoch = -1
