"""Which centroids hold a vector: the nearest one, and copies in a few others."""

from dataclasses import dataclass

import faiss
import numpy as np

from outcrop import native
from outcrop.ann.cluster import nearest
from outcrop.types import Float32Array, Int32Array, Int64Array

# Centroids are looked for in the leaves of this many buckets around the vector's own. With 24 of 141 buckets, 99.8 % of
# the 16 nearest centroids of SIFT descriptors are found.
_BUCKETS_SEARCHED = 24
NUM_CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class Rule:
    """copies: entries per vector at most, the primary one included. name: nearest, soar or rng."""

    name: str
    copies: int

    def __str__(self) -> str:
        return f"{self.name} {self.copies}" if self.copies > 1 else "none"


class Neighbourhood:
    """Finds the leaf centroids near a vector, by way of the coarse ones."""

    def __init__(self, coarse: Float32Array, centroids: Float32Array, begins: Int64Array) -> None:
        """coarse: [num_buckets, dim]; centroids: all leaves, bucket by bucket; begins: [num_buckets + 1]."""
        self.centroids = centroids
        self._coarse = coarse
        self._begins = begins
        _, self._near = faiss.knn(coarse, coarse, min(_BUCKETS_SEARCHED, len(coarse)))

    def candidates(self, rows: Float32Array) -> tuple[Int32Array, Float32Array]:
        """Return (centroids int32, squared distances float32), both [n, 16], nearest first; -1 where there are
        fewer."""
        found = np.full((len(rows), NUM_CANDIDATES), -1, np.int32)
        distances = np.full((len(rows), NUM_CANDIDATES), np.inf, np.float32)
        owner = nearest(rows, self._coarse)
        for bucket in np.unique(owner):
            members = np.flatnonzero(owner == bucket)
            near = self._leaves_near(int(bucket))
            m = min(NUM_CANDIDATES, len(near))
            near_distances, local = faiss.knn(rows[members], np.ascontiguousarray(self.centroids[near]), m)
            found[members, :m] = near[local]
            distances[members, :m] = near_distances
        return found, distances

    def _leaves_near(self, bucket: int) -> Int64Array:
        begins = self._begins
        buckets = self._near[bucket]
        leaves = np.concatenate([np.arange(begins[b], begins[b + 1]) for b in buckets])
        # An empty bucket's surroundings may hold no leaf at all when there are very few.
        return leaves if len(leaves) else np.arange(len(self.centroids))

    def choose(self, rule: Rule, rows: Float32Array, candidates: Int32Array, distances: Float32Array) -> Int32Array:
        """Return the centroids that hold each row, int32 [n, rule.copies]: the nearest first, -1 behind the last."""
        out = np.empty((len(rows), rule.copies), np.int32)
        native.choose_copies(rule.name, rows, candidates, distances, self.centroids, out)
        return out


def distances_of(chosen: Int32Array, candidates: Int32Array, distances: Float32Array) -> Float32Array:
    """Return the squared distance to each chosen centroid, float32 like `chosen`; 0 where it is -1."""
    out = np.zeros(chosen.shape, np.float32)
    for column in range(chosen.shape[1]):
        match = candidates == chosen[:, column : column + 1]
        out[:, column] = np.where(match.any(axis=1), distances[np.arange(len(chosen)), match.argmax(axis=1)], 0)
    out[chosen < 0] = 0
    return out
