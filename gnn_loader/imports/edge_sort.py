"""Edges in any order come out by destination, in bounded memory: an external distribution sort.

Edges go to partitions by destination, in chunks on disk that a resumed import finds again (`store.SortedRuns`).
A partition that is too large to sort in memory, as one with a hub is, is divided again: by the first of
destination, time and source in which its edges differ.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from outcrop.gnn_loader.imports.edge_columns import Edges, EdgeShape, check_columns, checked_edges, edges_of, part_of
from outcrop.store import SortedRuns, write_atomically
from outcrop.types import AnyArray, CooEdges, Int64Array, row_ranges

# A chunk holds a piece of each partition; with more, pieces of a chunk of 64 MiB would be shorter than 64 KiB.
_MOST_PARTITIONS = 1024
# Where nobody has counted the edges.
_USUAL_PARTITIONS = 64


class EdgeSort:
    """Sorts the edges of one type. `fill` once, then read `batches`, any number of times."""

    def __init__(self, folder: Path, shape: EdgeShape, num_edges: int | None, memory_bytes: int) -> None:
        """folder: for the records, about as many bytes as the edges take. num_edges: None when not known."""
        self._folder = folder
        self._shape = shape
        self._most = shape.most_sorted(memory_bytes // 2)
        self._chunk_bytes = max(1, memory_bytes // 6)
        self._piece = max(1, self._chunk_bytes // (2 * shape.record_bytes))  # of a batch, which may be large
        wanted = _USUAL_PARTITIONS if num_edges is None else -(-2 * num_edges // self._most)
        self._num_partitions = max(1, min(wanted, _MOST_PARTITIONS, shape.num_dst))
        self._runs = self._new_runs(folder, self._num_partitions)

    def fill(self, source: CooEdges, tick: Callable[[int], None]) -> None:
        """Take all edges, behind those that a killed import took. tick: called with their number so far; may raise.

        Raises InvalidArgument naming the first bad edge.
        """
        filled = self._folder / "filled"
        if filled.exists():
            return
        taken, first_edge = self._runs.mark or 0, 0
        for batch in source.batches():
            check_columns(self._shape, batch, first_edge)
            for start, stop in row_ranges(len(batch.src), self._piece):
                if first_edge + stop > taken:
                    skipped = max(0, taken - first_edge - start)
                    piece = part_of(batch, start + skipped, stop)
                    edges = checked_edges(self._shape, piece, first_edge + start + skipped)
                    partitions = edges.dst.astype(np.int64) * self._num_partitions // self._shape.num_dst
                    self._runs.append(partitions, edges.columns(), first_edge + stop)
                    tick(first_edge + stop)
            first_edge += len(batch.src)
        self._runs.flush()
        write_atomically(filled, b"")

    def batches(self) -> Iterator[Edges]:
        """Yield all edges by destination, time, source; equal ones in the order in which they came."""
        for first, last in self._groups(self._runs.counts()):
            if last - first > 1:
                yield edges_of(self._shape, self._runs.read(first, last)).sorted()
            else:
                yield from self._sorted(self._runs, first)

    def _groups(self, counts: Int64Array) -> Iterator[tuple[int, int]]:
        """Join partitions [first, last) that can be sorted together: fewer and longer reads."""
        ends = np.cumsum(counts)
        first = 0
        while first < len(counts):
            held = int(ends[first] - counts[first])
            last = max(first + 1, int(np.searchsorted(ends, held + self._most, "right")))
            yield first, last
            first = last

    def _sorted(self, runs: SortedRuns, partition: int) -> Iterator[Edges]:
        count = int(runs.counts()[partition])
        if not count:
            return
        if count <= self._most:
            yield edges_of(self._shape, runs.read(partition)).sorted()
            return
        divided = self._divided(runs, partition, count)
        if divided is None:
            for columns in runs.batches(partition, self._most):
                yield edges_of(self._shape, columns)
            return
        for part in range(divided.num_partitions):
            yield from self._sorted(divided, part)
        shutil.rmtree(divided.folder)

    def _divided(self, runs: SortedRuns, partition: int, count: int) -> SortedRuns | None:
        """Distribute a partition by its most significant key that is not the same everywhere; None if there is none."""
        names = [field.name for field in self._shape.fields]
        for key in ("dst", "time", "src"):
            if key not in names:
                continue
            column = names.index(key)
            low, high = self._bounds(runs, partition, column)
            if low < high:
                return self._divided_by(runs, partition, column, low, high, count)
        return None

    def _divided_by(self, runs: SortedRuns, partition: int, column: int, low: int, high: int, count: int) -> SortedRuns:
        num_parts = min(high - low + 1, _MOST_PARTITIONS, 1 + -(-2 * count // self._most))
        width = -(-(high - low + 1) // num_parts)
        folder = runs.folder / f"part-{partition}"
        shutil.rmtree(folder, ignore_errors=True)  # of an import that was killed here
        divided = self._new_runs(folder, num_parts)
        for columns in runs.batches(partition, self._most):
            # Modulo 2^64 a difference of two int64 is right even where it does not fit one.
            offsets = columns[column].astype(np.uint64) - np.uint64(low % (1 << 64))
            divided.append((offsets // np.uint64(width)).astype(np.int64), columns, 0)
        divided.flush()
        return divided

    def _bounds(self, runs: SortedRuns, partition: int, column: int) -> tuple[int, int]:
        bounds: list[AnyArray] = []
        for columns in runs.batches(partition, self._most):
            bounds += [columns[column].min(), columns[column].max()]
        return int(min(bounds)), int(max(bounds))

    def _new_runs(self, folder: Path, num_partitions: int) -> SortedRuns:
        return SortedRuns(folder, self._shape.fields, num_partitions, self._chunk_bytes)
