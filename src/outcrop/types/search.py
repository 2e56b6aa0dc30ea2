"""What a search finds, and what it cost."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import Float32Array

MOST_K = 16_384


@dataclass(frozen=True, slots=True)
class SearchUsage:
    """What a search cost, summed over its queries.

    reads, bytes: given to the device and read from it (4-KiB blocks, gaps between merged reads included).
    lists: posting lists scanned; cache_hits: those served from memory; skipped: those that the triangle bound ruled
    out. distances: codes compared; reranked: raw vectors compared; waves: rounds of reads.
    device_us: the device's charge, the sum over reads of max(1 / IOPS, bytes / bandwidth), in microseconds.
    centroid_us, elapsed_us: wall time of the centroid search, and of everything.
    """

    queries: int
    reads: int
    bytes: int
    lists: int
    cache_hits: int
    skipped: int
    distances: int
    reranked: int
    waves: int
    device_us: float
    centroid_us: float
    elapsed_us: float

    @property
    def pages(self) -> int:
        """4-KiB blocks read from the device."""
        return self.bytes // 4096


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The nearest stored vectors of each query, nearest first.

    ids: int64 [num_queries, k], or object (str) for collections with string ids; -1 (or None) where fewer were found.
    distances: float32 [num_queries, k], smaller is nearer: squared Euclidean for l2, the negated inner product for ip,
    1 - cosine similarity for cosine; infinity where fewer were found.
    exact_distances: False when the distances are those of compressed codes (`rerank=0` over a lossy code).
    latency_us: float32 [num_queries]: each query's own time in the core.
    """

    ids: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    distances: Float32Array
    usage: SearchUsage
    exact_distances: bool
    latency_us: Float32Array

    def __len__(self) -> int:
        return len(self.ids)


def check_k(k: int) -> None:
    """Raise InvalidArgument unless so many neighbours can be asked for."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MOST_K:
        raise InvalidArgument(f"k: expected 1 to {MOST_K}, found {k!r}")


def check_count(name: str, value: int, least: int) -> None:
    """Raise InvalidArgument unless the argument called `name` is a number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidArgument(f"{name}: expected a number of at least {least}, found {value!r}")
