"""The threads of an online loader: one samples a window ahead, one reads rows into buffers that come back.

sampling thread --> window of minibatches: their rows are announced --> reading thread --> ready --> the caller
                                                                            ^                           |
                                                                            +--- buffers come back -----+
"""

import contextlib
import os
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from outcrop import native
from outcrop.errors import ResourceExhausted
from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.online_rows import OnlineRows, first_scores, split_between, split_memory
from outcrop.gnn_loader.recycled import RecycledBuffers
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.stop import Stop, check
from outcrop.store import parse_bytes
from outcrop.types import (
    AnyArray,
    Int64Array,
    Minibatch,
    OnlineOptions,
    OnlineStatistics,
    parse_budget,
)

_POLL_SECONDS = 0.05
_STOPPABLE_POLL_SECONDS = 0.005
_ALIGNMENT = 4096
# Fewer hold so little that a small table is better read again.
_FEWEST_EXTENTS = 16


class OnlineRun:
    """The threads of a loader from one position on, without end."""

    def __init__(
        self,
        sampler: NeighborSampler,
        batches: SeedBatches,
        tables: Mapping[str, FeatureTable],
        node_types: Mapping[str, str],
        options: OnlineOptions,
        position: int,
    ) -> None:
        self.process = os.getpid()
        self._sampler, self._batches, self._node_types, self._options = sampler, batches, node_types, options
        self._position = position  # of the next minibatch to sample
        self._counts: dict[str, Int64Array] = {}
        self._streams: dict[str, OnlineRows] = {}
        self._resources = contextlib.ExitStack()
        self._buffers = RecycledBuffers(options.slots)
        self._ready: queue.SimpleQueue[Minibatch | BaseException] = queue.SimpleQueue()
        self._failed: BaseException | None = None
        self._stopping = threading.Event()
        self._seconds = dict.fromkeys(("sampling", "reading", "stall", "idle"), 0.0)
        self._given = self._stalls = self._ready_sum = 0
        with contextlib.ExitStack() as stack:
            self._open(tables, stack)
            self._resources = stack.pop_all()
        self._thread = threading.Thread(target=self._produce, name="outcrop online loader", daemon=True)
        self._thread.start()

    def _open(self, tables: Mapping[str, FeatureTable], stack: contextlib.ExitStack) -> None:
        options = self._options
        epoch = self._position // len(self._batches)
        scores = first_scores(options.scores, self._sampler, self._batches, options.num_sampled, epoch, options.threads)
        memory = split_between(tables, self._node_types, scores, parse_bytes(options.cache_memory))
        for name, table in tables.items():
            part = memory[name] / parse_bytes(options.cache_memory)
            victim = None if options.victim_memory is None else int(parse_budget(options.victim_memory) * part)
            split = split_memory(memory[name], table.num_rows, table.row_bytes, victim, name)
            rows = OnlineRows(
                table,
                split,
                self._disk_bytes(table, part),
                options.scratch_folder,
                options.longest_group,
                options.reader,
            )
            stack.callback(rows.close)
            self._streams[name] = rows
            found = scores.get(self._node_types[name])
            if found is not None:
                rows.set_scores(found)
                self._counts[name] = np.zeros(table.num_rows, np.int64)

    def _disk_bytes(self, table: FeatureTable, part: float) -> int:
        """What the scratch file of a table may take. part: the table's, of everything."""
        options = self._options
        if options.victim_disk is not None:
            return int(parse_budget(options.victim_disk) * part)
        if options.scratch_folder is None:
            return 0
        wanted = min(table.num_rows * table.row_bytes, int(shutil.disk_usage(options.scratch_folder).free / 4 * part))
        return wanted if wanted >= _FEWEST_EXTENTS * native.VictimBuffer.extent_bytes_for(table.row_bytes) else 0

    # ---- the caller's side

    def next(self, stop: Stop | None = None) -> Minibatch:
        """Return the next minibatch; waits for it, until `stop` says otherwise."""
        if self._failed is not None:
            raise self._failed
        self._ready_sum += self._ready.qsize()
        found = self._wait(stop) if self._ready.empty() else self._ready.get()
        if isinstance(found, BaseException):
            self._failed = found
            raise found
        self._given += 1
        return found

    def _wait(self, stop: Stop | None) -> Minibatch | BaseException:
        self._stalls += 1
        begin = time.perf_counter()
        try:
            while True:
                try:
                    return self._ready.get(timeout=_POLL_SECONDS if stop is None else _STOPPABLE_POLL_SECONDS)
                except queue.Empty:
                    check(stop)
                    if self._buffers.is_out and self._ready.empty():
                        raise ResourceExhausted(
                            f"online loader: the caller holds the features of all {self._options.slots} minibatches "
                            "that can exist at one time; let go of some, copy them, or raise slots"
                        ) from None
        finally:
            self._seconds["stall"] += time.perf_counter() - begin

    def statistics(self) -> OnlineStatistics:
        """Return the counters; any time."""
        return OnlineStatistics(
            self._given,
            {name: rows.statistics() for name, rows in self._streams.items()},
            self._seconds["sampling"],
            self._seconds["reading"],
            self._stalls,
            self._seconds["stall"],
            self._seconds["idle"],
            self._ready_sum,
            self._buffers.size_bytes,
        )

    def close(self) -> None:
        """End the threads, within a read and a sampled minibatch, and give everything back."""
        self._stopping.set()
        self._thread.join()
        self._resources.close()

    # ---- the threads

    def _produce(self) -> None:
        window: deque[tuple[Minibatch, dict[str, int]]] = deque()
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="outcrop sampler") as sampler:
                drawn = self._drawn_ahead(sampler)
                while not self._stopping.is_set():
                    while len(window) < self._options.window and not self._stopping.is_set():
                        minibatch = next(drawn)
                        window.append((minibatch, self._announce(minibatch)))
                    if self._stopping.is_set():
                        return
                    read = self._read(*window.popleft())
                    if read is not None:
                        self._ready.put(read)
        except BaseException as error:  # the caller gets it
            self._ready.put(error)

    def _drawn_ahead(self, sampler: ThreadPoolExecutor) -> Iterator[Minibatch]:
        """Minibatches, while the next ones are being sampled."""
        pending: Future[list[Minibatch]] = sampler.submit(self._draw)
        while True:
            minibatches = pending.result()
            pending = sampler.submit(self._draw)
            yield from minibatches

    def _draw(self) -> list[Minibatch]:
        begin = time.perf_counter()
        epoch, first = divmod(self._position, len(self._batches))
        count = min(self._options.threads, len(self._batches) - first)
        drawn = self._sampler.sample_many(
            self._batches, epoch=epoch, first_batch=first, count=count, threads=self._options.threads
        )
        minibatches = list(drawn)
        self._position += count
        self._seconds["sampling"] += time.perf_counter() - begin
        return minibatches

    def _announce(self, minibatch: Minibatch) -> dict[str, int]:
        return {name: rows.announce(minibatch.nodes[self._node_types[name]]) for name, rows in self._streams.items()}

    def _read(self, minibatch: Minibatch, numbers: Mapping[str, int]) -> Minibatch | None:
        counts = {name: len(minibatch.nodes[self._node_types[name]]) for name in numbers}
        sizes = {name: self._streams[name].size_bytes(count) for name, count in counts.items()}
        begin = time.perf_counter()
        buffer = self._buffers.lease(sum(_aligned(size) for size in sizes.values()), self._stopping.is_set)
        self._seconds["idle"] += time.perf_counter() - begin
        if buffer is None:
            return None
        begin, offset = time.perf_counter(), 0
        features: dict[str, AnyArray] = {}
        for name, rows in self._streams.items():
            out = buffer[offset : offset + sizes[name]]
            features[name] = rows.read(numbers[name], counts[name], out)
            features[name].flags.writeable = False
            offset += _aligned(sizes[name])
        self._count(minibatch)
        self._seconds["reading"] += time.perf_counter() - begin
        return replace(minibatch, features=features)

    def _count(self, minibatch: Minibatch) -> None:
        """What was asked for in one epoch ranks rows in the next one."""
        for name, counts in self._counts.items():
            counts[minibatch.nodes[self._node_types[name]]] += 1
            if minibatch.batch + 1 == len(self._batches):
                self._streams[name].set_scores(counts)
                counts //= 2  # older epochs count less


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
