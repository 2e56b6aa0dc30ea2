"""The true nearest neighbours: computed exactly by faiss over a source of any size, and the door to files of them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import faiss
import numpy as np

from outcrop.datasets.ground_truth_file import (
    Float32Array,
    GroundTruth,
    Int64Array,
    read_ground_truth,
    write_ground_truth,
)
from outcrop.datasets.source import MemorySource, Vectors, VectorSource
from outcrop.datasets.vectors import Progress
from outcrop.errors import InvalidArgument

__all__ = ["GroundTruth", "Metric", "exact_ground_truth", "read_ground_truth", "write_ground_truth"]

Metric: TypeAlias = Literal["l2", "ip", "cosine"]

# faiss computes ||x||^2 + ||q||^2 - 2xq in float32 and cuts ties at random. This many candidates beyond k are
# recomputed from the differences in float64, so that rounding can neither lose a neighbour nor swap two.
EXTRA_CANDIDATES = 32
QUERY_BLOCK_BYTES = 32 << 20
MIN_BATCH_ROWS = 1024


def exact_ground_truth(
    source: VectorSource | Vectors,
    queries: VectorSource | Vectors,
    k: int,
    metric: Metric = "l2",
    memory_bytes: int = 256 << 20,
    progress: Progress | None = None,
) -> GroundTruth:
    """Return the true k nearest rows of `source` to each query; neighbours of equal distance by rising id.

    The distances are squared L2, the negated inner product, or 1 - cosine: smaller is nearer. Those of bytes are exact
    (float32 rounds beyond 2^24); those of floats are computed in float64 from candidates chosen in float32.
    Reads the source once, in batches that with their copies take about `memory_bytes`; queries and results come on top.
    Where more than EXTRA_CANDIDATES rows tie with the k-th, any of them may stand for the others.
    Raises InvalidArgument when k is not 1 to num_rows, dims differ, or, saying which row, a value is not finite or a
    row is zero under cosine.
    """
    source, queries = _source(source), _source(queries)
    _check(source, queries, k, metric)
    targets = _prepared(queries.read(0, queries.num_rows), metric, 0, f"queries ({queries.name})")
    # A batch is held as stored, as float32, and, for cosine, while it is being normalised.
    batch_rows = max(MIN_BATCH_ROWS, memory_bytes // (source.dim * (source.dtype.itemsize + 8)))
    best = _Best(queries.num_rows, k)
    done = 0
    for raw in source.batches(batch_rows):
        rows = _prepared(raw, metric, done, source.name)
        for first in range(0, len(targets), query_block := _query_block(source.dim, k)):
            block = slice(first, first + query_block)
            best.merge(block, *_nearest(targets[block], rows, k, metric, done))
        done += len(raw)
        if progress is not None:
            progress(done, source.num_rows)
    return GroundTruth(best.ids, best.distances.astype(np.float32))


class _Best:
    """The best k so far, ordered by (distance, id)."""

    def __init__(self, num_queries: int, k: int) -> None:
        self._k = k
        self.ids: Int64Array = np.full((num_queries, k), -1, dtype=np.int64)
        self.distances = np.full((num_queries, k), np.inf)

    def merge(self, block: slice, ids: Int64Array, distances: Vectors) -> None:
        all_ids = np.concatenate([self.ids[block], ids], axis=1)
        all_distances = np.concatenate([self.distances[block], distances], axis=1)
        order = np.lexsort((all_ids, all_distances), axis=1)[:, : self._k]
        self.ids[block] = np.take_along_axis(all_ids, order, axis=1)
        self.distances[block] = np.take_along_axis(all_distances, order, axis=1)


def _nearest(
    queries: Float32Array, rows: Float32Array, k: int, metric: Metric, first_id: int
) -> tuple[Int64Array, Vectors]:
    """Return ids and float64 distances [num_queries, up to k + EXTRA_CANDIDATES] of one batch, in no order."""
    faiss_metric = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    _, places = faiss.knn(queries, rows, min(k + EXTRA_CANDIDATES, len(rows)), metric=faiss_metric)
    distances = np.empty(places.shape)
    for i, query in enumerate(queries):
        near = rows[places[i]].astype(np.float64)
        if metric == "l2":
            near -= query
            np.einsum("ij,ij->i", near, near, out=distances[i])
        else:
            np.negative(near @ query.astype(np.float64), out=distances[i])
    if metric == "cosine":
        distances += 1
    return places + first_id, distances


def _query_block(dim: int, k: int) -> int:
    return max(1, QUERY_BLOCK_BYTES // (4 * dim + 24 * (k + EXTRA_CANDIDATES)))


def _prepared(rows: Vectors, metric: Metric, first_row: int, name: str) -> Float32Array:
    """Return rows as float32, of unit length for cosine."""
    prepared = rows.astype(np.float32, copy=metric == "cosine")
    if rows.dtype.kind == "f":
        _refuse(~np.isfinite(prepared).all(axis=1), first_row, name, "holds a value that is not finite")
    if metric == "cosine":
        norms = np.sqrt(np.einsum("ij,ij->i", prepared, prepared, dtype=np.float64))
        _refuse(norms == 0, first_row, name, "is zero and so has no cosine")
        prepared /= norms[:, None]
    return prepared


def _refuse(wrong: Any, first_row: int, name: str, why: str) -> None:
    if wrong.any():
        raise InvalidArgument(f"{name}: row {first_row + int(np.flatnonzero(wrong)[0])} {why}")


def _source(rows: VectorSource | Vectors) -> VectorSource:
    return rows if isinstance(rows, VectorSource) else MemorySource(rows)


def _check(source: VectorSource, queries: VectorSource, k: int, metric: str) -> None:
    if metric not in ("l2", "ip", "cosine"):
        raise InvalidArgument(f"metric {metric!r} is not one of l2, ip, cosine")
    if source.dim != queries.dim:
        raise InvalidArgument(f"{queries.name}: dimension {queries.dim}, but {source.name} has {source.dim}")
    if not 1 <= k <= source.num_rows:
        raise InvalidArgument(f"k must be 1 to the {source.num_rows} rows of {source.name}, found {k}")
