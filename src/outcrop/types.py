"""The plain data that callers see, the same embedded and served."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]
AnyArray = npt.NDArray[Any]

# (source type, relation, destination type). A homogeneous graph has the node type "node" and this one edge type:
EdgeType = tuple[str, str, str]
NODE = "node"
NODE_TO_NODE: EdgeType = (NODE, "to", NODE)


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


class RowSource(Protocol):
    """Rows of a feature table, of any dtype and shape. `import_features` reads them once, in order.

    A dtype that NumPy lacks comes as one it has: bfloat16 as uint16, and then the source has an attribute
    `logical_dtype` that says "bfloat16".
    """

    @property
    def num_rows(self) -> int:
        """How many rows there are: one for each node of a type."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row; () when a row is one number."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the arrays that `read` returns."""
        ...

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop), an array [stop - start, *row_shape] of `dtype`."""
        ...


@dataclass(frozen=True, slots=True)
class EdgeBatch:
    """Some edges, in any order, given by the ids that nodes have within their types.

    src, dst: int64 [n]. weight: float32 [n], finite, at least 0. time: int64 [n]. edge_id: int64 [n]; without it an
    edge is called by its place in the stored order. All batches of a source have the same columns.
    """

    src: Int64Array
    dst: Int64Array
    weight: Float32Array | None = None
    time: Int64Array | None = None
    edge_id: Int64Array | None = None


class CscArrays(NamedTuple):
    """Edges by destination: those into node v are the places [indptr[v], indptr[v + 1]) of the other arrays.

    Whatever has a shape and slices to arrays will do, such as memory maps. indptr: [num_dst + 1], of any integer dtype,
    as indices (sources), times and edge_ids [num_edges]; weights: floating [num_edges].
    """

    indptr: Any
    indices: Any
    weights: Any = None
    times: Any = None
    edge_ids: Any = None


class CooEdges(Protocol):
    """Edges of one type in any order, such as a file of pairs holds."""

    @property
    def form(self) -> Literal["coo"]:
        """Tells them from `CscEdges`."""
        ...

    @property
    def num_edges(self) -> int | None:
        """How many there are, None where nobody has counted; only progress is the worse for it."""
        ...

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield all edges, each once; in the same order each time, for an import may be resumed."""
        ...


class CscEdges(Protocol):
    """Edges of one type that are sorted by destination already."""

    @property
    def form(self) -> Literal["csc"]:
        """Tells them from `CooEdges`."""
        ...

    @property
    def num_edges(self) -> int | None:
        """The length of the arrays."""
        ...

    def csc(self) -> CscArrays:
        """Return the arrays; they are read in ranges, in order."""
        ...


EdgeSource = CooEdges | CscEdges


class GraphSource(Protocol):
    """A graph to import. `outcrop.datasets` and the adapters make them of files, DGL graphs and PyG data."""

    @property
    def node_counts(self) -> Mapping[str, int]:
        """How many nodes each type has; their ids are 0 to that, exclusively."""
        ...

    @property
    def edges(self) -> Mapping[EdgeType, EdgeSource]:
        """The edges of each type."""
        ...

    @property
    def node_times(self) -> Mapping[str, Any] | None:
        """Arrays int64 [num_nodes] of some node types, or None when no node has a time."""
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
