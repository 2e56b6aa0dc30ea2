"""Edges that come by destination already: checked, and sorted within their columns where they are not."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.imports.edge_columns import Edges, EdgeShape, checked_edges
from outcrop.gnn_loader.imports.edge_sort import EdgeSort
from outcrop.types import CscArrays, EdgeBatch, Int64Array, row_ranges

# Places of indptr that are read at once.
_WINDOW = 1 << 20


def csc_shape(shape: EdgeShape, arrays: CscArrays) -> EdgeShape:
    """Return `shape` with the columns that the arrays have. Raises InvalidArgument when their lengths do not agree."""
    arrays = CscArrays(*arrays)
    where = f"edges {shape.edge_type}"
    if len(arrays.indptr) != shape.num_dst + 1:
        raise InvalidArgument(f"{where}: indptr: expected {shape.num_dst + 1} places, found {len(arrays.indptr)}")
    columns = {"weight": arrays.weights, "time": arrays.times, "edge_id": arrays.edge_ids}
    for name, column in columns.items():
        if column is not None and len(column) != len(arrays.indices):
            raise InvalidArgument(f"{where}: {name}: expected {len(arrays.indices)} values, found {len(column)}")
    extras = tuple(name for name, column in columns.items() if column is not None)
    return EdgeShape(shape.edge_type, shape.num_src, shape.num_dst, extras)


def sorted_csc(shape: EdgeShape, arrays: CscArrays, scratch: Path, memory_bytes: int) -> Iterator[Edges]:
    """Yield all edges by destination, time, source, as many at once as fit.

    scratch: for columns that are too long to sort in memory. Raises InvalidArgument where indptr is not ascending from
    0 to the number of edges, and naming the first bad edge.
    """
    arrays = CscArrays(*arrays)
    most = shape.most_sorted(memory_bytes // 2)
    for first_node, indptr in _indptr_windows(shape, arrays):
        for begin, end in _groups(indptr, most):
            column = _Columns(shape, arrays, first_node + begin, indptr[begin : end + 1])
            if column.num_edges <= most:
                yield column.edges(0, column.num_edges).sorted()
            else:
                yield from _long_column(column, most, scratch, memory_bytes)


def _indptr_windows(shape: EdgeShape, arrays: CscArrays) -> Iterator[tuple[int, Int64Array]]:
    """Yield (first node, indptr from that node to behind the last of the window), checked."""
    where = f"edges {shape.edge_type}: indptr"
    before, num_edges = 0, len(arrays.indices)
    for first, last in row_ranges(shape.num_dst, _WINDOW):
        indptr = np.asarray(arrays.indptr[first : last + 1])
        if indptr.dtype.kind not in "iu":
            raise InvalidArgument(f"{where}: expected integers, found {indptr.dtype}")
        indptr = indptr.astype(np.int64)
        if int(indptr[0]) != before:
            raise InvalidArgument(f"{where}: place {first}: expected {before}, found {indptr[0]}")
        steps = np.diff(indptr)
        if (steps < 0).any():
            place = int(np.argmax(steps < 0))
            raise InvalidArgument(f"{where}: place {first + place + 1}: {indptr[place + 1]} after {indptr[place]}")
        before = int(indptr[-1])
        if before > num_edges:
            raise InvalidArgument(f"{where}: place {last}: {before}, and there are {num_edges} edges")
        yield first, indptr
    last = np.asarray(arrays.indptr[shape.num_dst : shape.num_dst + 1]).tolist()
    if last != [num_edges]:
        raise InvalidArgument(f"{where}: its last place is {last[0]}, and there are {num_edges} edges")


def _groups(indptr: Int64Array, most: int) -> Iterator[tuple[int, int]]:
    """Divide columns into groups [begin, end) of at most `most` edges, or of one column."""
    begin, num_columns = 0, len(indptr) - 1
    while begin < num_columns:
        end = int(np.searchsorted(indptr, indptr[begin] + most, "right")) - 1
        end = min(max(end, begin + 1), num_columns)
        yield begin, end
        begin = end


@dataclass(frozen=True, slots=True)
class _Columns:
    """The edges into some consecutive nodes."""

    shape: EdgeShape
    arrays: CscArrays
    first_node: int
    indptr: Int64Array

    @property
    def num_edges(self) -> int:
        return int(self.indptr[-1] - self.indptr[0])

    def edges(self, start: int, stop: int) -> Edges:
        """Return edges [start, stop) of these columns, checked."""
        base = int(self.indptr[0])
        part = slice(base + start, base + stop)
        bounds: Int64Array = np.clip(self.indptr - base, start, stop)
        lengths = bounds[1:] - bounds[:-1]
        nodes = np.repeat(np.arange(self.first_node, self.first_node + len(lengths)), lengths)
        columns = (self.arrays.weights, self.arrays.times, self.arrays.edge_ids)
        extras: list[Any] = [None if column is None else np.asarray(column[part]) for column in columns]
        batch = EdgeBatch(np.asarray(self.arrays.indices[part]), nodes, *extras)
        return checked_edges(self.shape, batch, base + start)


@dataclass(frozen=True, slots=True)
class _AsCoo:
    """A column that is too long for memory, to be sorted like edges in any order."""

    columns: _Columns
    most: int

    @property
    def form(self) -> Literal["coo"]:
        return "coo"

    @property
    def num_edges(self) -> int:
        return self.columns.num_edges

    def batches(self) -> Iterator[EdgeBatch]:
        for start, stop in row_ranges(self.num_edges, self.most):
            edges = self.columns.edges(start, stop)
            src, dst = edges.src.astype(np.int64), edges.dst.astype(np.int64)
            yield EdgeBatch(src, dst, edges.weight, edges.time, edges.edge_id)


def _long_column(column: _Columns, most: int, scratch: Path, memory_bytes: int) -> Iterator[Edges]:
    parts = [range(start, stop) for start, stop in row_ranges(column.num_edges, most)]
    # A part begins with the last edge of the one before, so that the seam is looked at too.
    if all(column.edges(max(0, part.start - 1), part.stop).is_sorted() for part in parts):
        yield from (column.edges(part.start, part.stop) for part in parts)
        return
    folder = scratch / "long-column"
    shutil.rmtree(folder, ignore_errors=True)  # of an import that was killed here
    sort = EdgeSort(folder, column.shape, column.num_edges, memory_bytes)
    sort.fill(_AsCoo(column, most), lambda _: None)
    yield from sort.batches()
    shutil.rmtree(folder)
