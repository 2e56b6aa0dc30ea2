"""Hierarchical balanced clustering: coarse centroids from a sample, then leaf centroids bucket by bucket.

faiss does the k-means; balance and order are ours: clusters above twice the target are split until they fit or cannot
be split (exact duplicates), and centroids that are near each other get numbers near each other, because posting lists
lie on disk in that order.
"""

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from outcrop.types import Float32Array, Int64Array

_COARSE_ITERATIONS = 12
_LEAF_ITERATIONS = 8
_MOST_POINTS_PER_CENTROID = 256
# A cluster this many times above the target is split.
_SPLIT_ABOVE = 2.0
# Each round halves what is too large; a cluster that is still too large after this many rounds is made of duplicates.
_MOST_SPLITS = 12


def kmeans(rows: Float32Array, k: int, iterations: int, seed: int) -> Float32Array:
    """Return at most k centroids float32 [<= k, dim] of rows [n, dim]; fewer when there are fewer distinct ones."""
    if len(rows) <= k:
        distinct: Float32Array = np.unique(rows, axis=0)
        return distinct
    if k == 1:
        mean: Float32Array = rows.mean(axis=0, dtype=np.float64).astype(np.float32)[None, :]
        return mean
    trainer = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_MOST_POINTS_PER_CENTROID,
    )
    trainer.train(rows)
    trained: Float32Array = trainer.centroids
    return trained


def nearest(rows: Float32Array, centroids: Float32Array) -> Int64Array:
    """Return the nearest centroid of each row, int64 [n]."""
    _, found = faiss.knn(rows, centroids, 1)
    result: Int64Array = found[:, 0]
    return result


def chained(centroids: Float32Array, before: Float32Array | None = None) -> Int64Array:
    """Return an order of the centroids in which neighbours are near each other: a greedy walk, nearest unvisited first.

    before: where the walk comes from, [dim]; the first centroid otherwise. O(n^2) distances; n is a few thousand at
    most.
    """
    n = len(centroids)
    norms = np.einsum("ij,ij->i", centroids, centroids)
    at = 0 if before is None else int(np.argmin(norms - 2 * (centroids @ before)))
    order = np.empty(n, np.int64)
    unvisited = norms.copy()
    for step in range(n):
        order[step] = at
        unvisited[at] = np.inf
        if step + 1 < n:
            at = int(np.argmin(unvisited - 2 * (centroids @ centroids[at])))
    return order


def train_coarse(sample: Float32Array, k: int, seed: int) -> Float32Array:
    """Return at most k coarse centroids of a sample, in chained order."""
    centroids = kmeans(sample, k, _COARSE_ITERATIONS, seed)
    return np.ascontiguousarray(centroids[chained(centroids)])


@dataclass(frozen=True, slots=True)
class LeafTarget:
    """How many vectors a leaf should hold on average; `seed` makes the clustering repeatable."""

    list_size: float
    seed: int

    def too_large(self, sizes: Int64Array) -> npt.NDArray[np.bool_]:
        """Which clusters of these sizes are to be split."""
        large: npt.NDArray[np.bool_] = sizes > max(2, _SPLIT_ABOVE * self.list_size)
        return large


def train_leaves(rows: Float32Array, num_rows: int, target: LeafTarget, before: Float32Array) -> Float32Array:
    """Return the leaf centroids of one bucket, in chained order, float32 [>= 1, dim].

    rows: the bucket's vectors, or a sample of them when num_rows, the size of the bucket, is larger.
    before: where the order comes from, the coarse centroid of the previous bucket.
    """
    share = len(rows) / num_rows
    scaled = LeafTarget(max(1.0, target.list_size * share), target.seed)
    k = max(1, round(num_rows / target.list_size))
    centroids = kmeans(rows, min(k, len(rows)), _LEAF_ITERATIONS, target.seed)
    centroids = _balanced(rows, centroids, scaled)
    return np.ascontiguousarray(centroids[chained(centroids, before)])


def _balanced(rows: Float32Array, centroids: Float32Array, target: LeafTarget) -> Float32Array:
    """Drop empty clusters and split those that are too large, until none is or only duplicates are left in them."""
    for _ in range(_MOST_SPLITS):
        owner = nearest(rows, centroids)
        sizes = np.bincount(owner, minlength=len(centroids))
        large = target.too_large(sizes)
        kept = [centroids[(sizes > 0) & ~large]]
        order = np.argsort(owner, kind="stable")
        begins = np.concatenate([[0], np.cumsum(sizes)])
        parts = [_split(rows[order[begins[c] : begins[c + 1]]], centroids[c], target) for c in np.flatnonzero(large)]
        centroids = np.concatenate(kept + parts)
        if all(len(part) == 1 for part in parts):
            return centroids
    return centroids


def _split(rows: Float32Array, centroid: Float32Array, target: LeafTarget) -> Float32Array:
    """Return centroids of the parts of one cluster, or the cluster's own when all its rows are equal."""
    if np.array_equal(rows.min(axis=0), rows.max(axis=0)):
        return centroid[None, :]
    return kmeans(rows, min(len(rows), max(2, round(len(rows) / target.list_size))), _LEAF_ITERATIONS, target.seed)
