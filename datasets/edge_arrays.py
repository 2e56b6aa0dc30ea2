"""Edges in arrays of files: pairs, two columns, or sorted by destination already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from outcrop.datasets.array_file import ArrayFile, open_array
from outcrop.errors import InvalidArgument
from outcrop.types import CscArrays, EdgeBatch, Int64Array, row_ranges

BATCH_EDGES = 1 << 20

Ends = Callable[[int, int], tuple[npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class ArrayEdges:
    """Edges in any order; a CooEdges.

    ends: gives sources and destinations of edges [start, stop). weight, time: arrays [num_edges].
    ids: edge i has the id i, so that rows of edge features stay valid; otherwise edges have none.
    """

    ends: Ends
    num_edges: int
    files: tuple[ArrayFile, ...]
    weight: ArrayFile | None = None
    time: ArrayFile | None = None
    ids: bool = False

    @property
    def form(self) -> Literal["coo"]:
        """Any order."""
        return "coo"

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield the edges in the order of the files."""
        for start, stop in row_ranges(self.num_edges, BATCH_EDGES):
            src, dst = self.ends(start, stop)
            yield EdgeBatch(
                src.astype(np.int64, copy=False),
                dst.astype(np.int64, copy=False),
                None if self.weight is None else self.weight[start:stop].astype(np.float32, copy=False),
                None if self.time is None else self.time[start:stop].astype(np.int64, copy=False),
                np.arange(start, stop) if self.ids else None,
            )

    def identity(self) -> str:
        """Return a text that changes when a file does."""
        extra = [file for file in (self.weight, self.time) if file is not None]
        return " ".join([str(self.ids), *(file.identity() for file in (*self.files, *extra))])


def open_edge_index(
    path: Path, part: str | None = None, weight: Path | None = None, time: Path | None = None, ids: bool = False
) -> ArrayEdges:
    """Open edges in one array of integers: [n, 2], or [2, n] with sources first; [2, 2] is read as [2, n].

    Raises InvalidArgument for other shapes and types, and as `open_array` does.
    """
    pairs = _integers(open_array(path, part))
    if len(pairs.shape) != 2 or 2 not in pairs.shape:
        raise InvalidArgument(f"{pairs.path}: expected edges of shape [n, 2] or [2, n], found {list(pairs.shape)}")
    if pairs.shape[0] == 2:
        # A compressed part streams in one direction, so each end has a stream of its own.
        second = open_array(path, part)
        num_edges = pairs.shape[1]
        return _edges(_rows_as_ends(pairs, second), num_edges, (pairs, second), weight, time, ids)
    return _edges(_pairs_as_ends(pairs), len(pairs), (pairs,), weight, time, ids)


def open_edge_columns(
    src: Path, dst: Path, weight: Path | None = None, time: Path | None = None, ids: bool = False
) -> ArrayEdges:
    """Open edges in two arrays of integers [n]. Raises InvalidArgument when they differ in length."""
    sources, destinations = _integers(open_array(src)), _integers(open_array(dst))
    _require_shape(sources, (len(sources),))
    _require_shape(destinations, (len(sources),))

    def ends(start: int, stop: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return sources[start:stop], destinations[start:stop]

    return _edges(ends, len(sources), (sources, destinations), weight, time, ids)


@dataclass(frozen=True, slots=True)
class CscFiles:
    """Edges sorted by destination; a CscEdges."""

    arrays: CscArrays

    @property
    def form(self) -> Literal["csc"]:
        """Sorted."""
        return "csc"

    @property
    def num_edges(self) -> int:
        """The length of the arrays."""
        return len(self.arrays.indices)

    def csc(self) -> CscArrays:
        """Return the arrays, ArrayFiles."""
        return self.arrays

    def identity(self) -> str:
        """Return a text that changes when a file does."""
        return " ".join("-" if array is None else array.identity() for array in self.arrays)

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield the edges one by one with their destinations, for what wants them so."""
        arrays = self.arrays
        for start, stop in row_ranges(len(arrays.indptr) - 1, BATCH_EDGES):
            offsets = arrays.indptr[start : stop + 1].astype(np.int64)
            first, last = int(offsets[0]), int(offsets[-1])
            # A node of enormous degree costs no more memory than the others.
            for begin, end in ((first + a, first + b) for a, b in row_ranges(last - first, BATCH_EDGES)):
                yield EdgeBatch(
                    arrays.indices[begin:end].astype(np.int64, copy=False),
                    start + _columns(offsets, begin, end),
                    None if arrays.weights is None else arrays.weights[begin:end].astype(np.float32, copy=False),
                    None if arrays.times is None else arrays.times[begin:end].astype(np.int64, copy=False),
                    None if arrays.edge_ids is None else arrays.edge_ids[begin:end].astype(np.int64, copy=False),
                )


def open_csc(
    indptr: Path, indices: Path, weights: Path | None = None, times: Path | None = None, edge_ids: Path | None = None
) -> CscFiles:
    """Open arrays sorted by destination. Raises InvalidArgument when lengths or types do not fit together."""
    offsets, sources = _integers(open_array(indptr)), _integers(open_array(indices))
    if len(offsets.shape) != 1 or len(offsets) == 0:
        raise InvalidArgument(f"{indptr}: expected offsets [nodes + 1], found {list(offsets.shape)}")
    _require_shape(sources, (len(sources),))
    last = int(offsets.read(len(offsets) - 1, len(offsets))[0])
    if last != len(sources):
        raise InvalidArgument(f"{indptr}: ends at {last}, but {indices} holds {len(sources)} edges")
    others = [_column(path, len(sources)) for path in (weights, times, edge_ids)]
    return CscFiles(CscArrays(offsets, sources, *others))


def _columns(offsets: Int64Array, begin: int, end: int) -> Int64Array:
    """Return of edges [begin, end) which column of `offsets` each lies in, int64."""
    bounds = np.clip(offsets, begin, end)
    return np.repeat(np.arange(len(offsets) - 1), np.diff(bounds))


def _edges(
    ends: Ends, num_edges: int, files: tuple[ArrayFile, ...], weight: Path | None, time: Path | None, ids: bool
) -> ArrayEdges:
    return ArrayEdges(ends, num_edges, files, _column(weight, num_edges), _column(time, num_edges), ids)


def _pairs_as_ends(pairs: ArrayFile) -> Ends:
    def ends(start: int, stop: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        rows = pairs.read(start, stop)
        return np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])

    return ends


def _rows_as_ends(first: ArrayFile, second: ArrayFile) -> Ends:
    return lambda start, stop: (first.row_part(0, start, stop), second.row_part(1, start, stop))


def _column(path: Path | None, num_edges: int) -> ArrayFile | None:
    if path is None:
        return None
    column = open_array(path)
    _require_shape(column, (num_edges,))
    return column


def _integers(array: ArrayFile) -> ArrayFile:
    if array.dtype.kind not in "iu":
        raise InvalidArgument(f"{array.path}: expected integers, found {array.dtype}")
    return array


def _require_shape(array: ArrayFile, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InvalidArgument(f"{array.path}: expected shape {list(shape)}, found {list(array.shape)}")
