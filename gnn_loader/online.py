"""Minibatches without a plan: sampled a few ahead of their use, so that every tier knows what they will ask for.

    with OnlineLoader(sampler, SeedBatches(seeds, 1024), {"x": table}, cache_memory="512MiB") as loader:
        for epoch in range(10):
            for minibatch in loader:
                train(minibatch.features["x"], minibatch)

A plan reads less, because it knows everything; this begins at once, writes no log, and never repeats a minibatch.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.online_run import OnlineRun
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.stop import Stop, check
from outcrop.types import Minibatch, OnlineOptions, OnlineStatistics

# What a forked child inherited and must neither use nor close: threads and rings of its parent.
_abandoned: list[OnlineRun] = []


class OnlineLoader:
    """Minibatches with features; an iteration is one epoch, or what is left of it. A context manager.

    Minibatch b of epoch e is the one that `sampler` draws for (e, b), whatever the tiers do. Sampling and reading go on
    in two threads of the loader, across the ends of epochs. For one caller at a time. A forked process begins anew at
    the same position, with an empty cache.
    """

    def __init__(
        self,
        sampler: NeighborSampler,
        batches: SeedBatches,
        tables: Mapping[str, FeatureTable],
        *,
        node_types: Mapping[str, str] | None = None,
        options: OnlineOptions | None = None,
        owned: contextlib.ExitStack | None = None,
        **others: Any,
    ) -> None:
        """tables: by name, opened; they stay the caller's. node_types: whose rows a table has, by default the type of
        that name, or the only one. options, or its fields by name (`cache_memory=` is needed). owned: closed with the
        loader.

        Raises InvalidArgument, ResourceExhausted when the memory is less than what works.
        """
        self.options = OnlineOptions(**others) if options is None else replace(options, **others)
        self._sampler, self._batches, self._tables = sampler, batches, dict(tables)
        self._node_types = {name: _node_type(name, sampler, table, node_types or {}) for name, table in tables.items()}
        self._position = 0
        self._run: OnlineRun | None = None
        self._owned = owned or contextlib.ExitStack()
        self._closed = False

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        return self._position

    @property
    def left_in_epoch(self) -> int:
        """Minibatches of the epoch under way that are still to come."""
        return len(self) - self._position % len(self) if len(self) else 0

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield what is left of the epoch under way.

        The features of a minibatch live in a buffer that is used again when the last view of it has gone. Raises
        ResourceExhausted when the caller holds all of them, and what sampling and reading raise.
        """
        if self._closed:
            raise InvalidArgument("online loader: it is closed")
        end = self._position + self.left_in_epoch
        while self._position < end:
            yield self.next_minibatch()  # in no variable of this frame: that would hold its buffer

    def next_minibatch(self, *, stop: Stop | None = None) -> Minibatch:
        """Wait for the next minibatch, of this epoch or the next.

        stop: ends the waiting, not the loader: the next call waits for the same minibatch.
        Raises DeadlineExceeded and Cancelled by it, InvalidArgument for a loader that is closed or has no minibatches,
        and as an iteration does.
        """
        if self._closed or len(self) == 0:
            raise InvalidArgument(f"online loader: it {'is closed' if self._closed else 'has no minibatches'}")
        check(stop)
        minibatch = self._running().next(stop)
        self._position += 1
        return minibatch

    def _running(self) -> OnlineRun:
        if self._run is not None and self._run.process != os.getpid():
            _abandoned.append(self._run)
            self._run = None
        if self._run is None:
            self._run = OnlineRun(
                self._sampler, self._batches, self._tables, self._node_types, self.options, self._position
            )
        return self._run

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; what was read ahead is dropped, and the cache begins empty. Raises InvalidArgument."""
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise InvalidArgument(f"state of a loader: expected a position of at least 0, found {state}")
        self._stop()
        self._position = position

    def statistics(self) -> OnlineStatistics:
        """Return the counters; zeros before the first minibatch was asked for."""
        if self._run is None:
            return OnlineStatistics(0, {}, 0.0, 0.0, 0, 0.0, 0.0, 0, 0)
        return self._run.statistics()

    def close(self) -> None:
        """End the threads and give memory and disk back; minibatches in the caller's hands stay valid. Twice is
        allowed."""
        self._closed = True
        with self._owned:
            self._stop()

    def _stop(self) -> None:
        run, self._run = self._run, None
        if run is not None and run.process == os.getpid():
            run.close()
        elif run is not None:
            _abandoned.append(run)

    def __enter__(self) -> "OnlineLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _node_type(name: str, sampler: NeighborSampler, table: FeatureTable, given: Mapping[str, str]) -> str:
    types = sampler.graph.node_types
    only = next(iter(types)) if len(types) == 1 else ""
    found = given.get(name, name if name in types else only)
    if found not in types:
        raise InvalidArgument(
            f"table {name!r}: expected a node type among {list(types)} in node_types, found {found!r}"
        )
    if table.num_rows < types[found]:
        raise InvalidArgument(
            f"table {name!r}: {table.num_rows} rows, expected one for each of the {types[found]} nodes of {found!r}"
        )
    return found
