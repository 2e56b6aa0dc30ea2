"""Exact neighbours of a few queries, for choosing copies and for calibration: brute force over the buckets,
streamed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.ann.build.scan import Scan, Tick
from outcrop.ann.edge import query_rows
from outcrop.store import SortedRuns, save_arrays
from outcrop.types import AnyArray, CollectionSpec, Float32Array, Int64Array, UInt8Array, as_float32

NUM_NEIGHBORS = 100
_MOST_QUERIES = 256
_FEWEST_QUERIES = 64
# Query-row pairs that brute force may compare: about 20 s on two cores at 128 bytes a row.
_MOST_PAIRS = 4_000_000_000
_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Truth:
    """queries: float32 [n, dim], as the metric wants them. ids, distances: [n, 100], exact, nearest first, -1 behind
    the last.

    own_ids: int64 [n], the id of the query's own vector when queries were held out of the set, else -1; it is not among
    `ids`. neighbor_ids, neighbor_rows: the vectors of the 10 nearest of all queries, each once, for trying assignments
    on.
    """

    queries: Float32Array
    own_ids: Int64Array
    ids: Int64Array
    distances: Float32Array
    neighbor_ids: Int64Array
    neighbor_positions: Int64Array
    near_ids: Int64Array
    near_rows: Float32Array

    def save(self, path: Path) -> None:
        """Write all to one file; a killed process leaves none or a whole one."""
        save_arrays(path, **{name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def load(path: Path) -> "Truth":
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as saved:
            return Truth(**{name: saved[name] for name in Truth.__slots__})


def find_truth(
    spec: CollectionSpec, runs: SortedRuns, found: Scan, given: AnyArray | None, num_threads: int, tick: Tick
) -> Truth:
    """Compare queries with everything. given: queries of the user's; without them, rows of the sample are held out."""
    num_rows = int(runs.counts().sum())
    queries, typed, own_ids = _queries(spec, found, given, num_rows)
    k = min(NUM_NEIGHBORS + 1, num_rows)
    exact = native.ExactScan(spec.dtype, spec.core_metric, queries, typed, k)
    done = 0
    for bucket in range(runs.num_partitions):
        for ids, rows in runs.batches(bucket, _BATCH_ROWS):
            exact.push(np.ascontiguousarray(rows).view(np.uint8), ids, num_threads)
            done += len(ids)
            tick(0.9 * done / num_rows)
    ids = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    exact.result(ids, distances)
    ids, distances = _without_own(ids, distances, own_ids)
    neighbor_ids, near_ids = _distinct(ids), _distinct(ids[:, :10])
    positions, near_rows = _collect(runs, neighbor_ids, near_ids, spec.dim)
    return Truth(queries, own_ids, ids, distances, neighbor_ids, positions, near_ids, near_rows)


def _distinct(ids: Int64Array) -> Int64Array:
    distinct: Int64Array = np.unique(ids)
    return distinct[distinct >= 0]


def _queries(
    spec: CollectionSpec, found: Scan, given: AnyArray | None, num_rows: int
) -> tuple[Float32Array, UInt8Array | None, Int64Array]:
    most = max(_FEWEST_QUERIES, min(_MOST_QUERIES, _MOST_PAIRS // num_rows))
    if given is not None:
        queries, typed = query_rows(spec, given[:_MOST_QUERIES])
        return queries, typed, np.full(len(queries), -1, np.int64)
    held_out = found.sample[-min(most, len(found.sample)) :]
    own_ids = found.sample_ids[-len(held_out) :]
    return *query_rows(spec, held_out), own_ids


def _without_own(ids: Int64Array, distances: Float32Array, own_ids: Int64Array) -> tuple[Int64Array, Float32Array]:
    """Drop each query's own vector; without one, the last column."""
    own = ids == own_ids[:, None]
    own[~own.any(axis=1) | (own_ids < 0), -1] = True
    keep = ~own
    shape = (len(ids), ids.shape[1] - 1)
    return ids[keep].reshape(shape), distances[keep].reshape(shape)


def _collect(
    runs: SortedRuns, neighbor_ids: Int64Array, near_ids: Int64Array, dim: int
) -> tuple[Int64Array, Float32Array]:
    """Return the place of each neighbour in bucket order, and the vectors of the nearest ones."""
    positions = np.empty(len(neighbor_ids), np.int64)
    near_rows = np.empty((len(near_ids), dim), np.float32)
    begin = 0
    for bucket in range(runs.num_partitions):
        for ids, rows in runs.batches(bucket, 4 * _BATCH_ROWS):
            at = np.flatnonzero(np.isin(ids, neighbor_ids))
            positions[np.searchsorted(neighbor_ids, ids[at])] = begin + at
            at = at[np.isin(ids[at], near_ids)]
            near_rows[np.searchsorted(near_ids, ids[at])] = as_float32(rows[at])
            begin += len(ids)
    return positions, near_rows
