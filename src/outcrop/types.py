"""The plain data that callers see, the same embedded and served."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
AnyArray = npt.NDArray[Any]


class VectorSource(Protocol):
    """Rows to build from, read in any order and more than once. `outcrop.datasets.vectors.open_vectors` returns one."""

    @property
    def num_rows(self) -> int:
        """How many vectors there are."""
        ...

    @property
    def dim(self) -> int:
        """The dimension of each."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """float32, float16, uint8 or int8."""
        ...

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop) as a C-contiguous array [stop - start, dim]."""
        ...


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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come. fraction: of all of it, 0 to 1. seconds_left: an estimate, None before there is
    one."""

    stage: str
    fraction: float
    seconds_left: float | None


def row_ranges(num_rows: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of consecutive batches of at most `batch_rows` rows."""
    for start in range(0, num_rows, batch_rows):
        yield start, min(start + batch_rows, num_rows)
