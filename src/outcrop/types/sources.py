"""What may be imported: arrays in memory, memory maps, and whatever reads files and offers the same protocols."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import AnyArray, row_ranges
from outcrop.types.features import RowSource
from outcrop.types.graph import NODE, NODE_TO_NODE, CscArrays, EdgeBatch, EdgeSource, EdgeType, GraphSource

_BATCH_EDGES = 1 << 18


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """An array [n, ...], memory-mapped or not, as a RowSource. logical_dtype: "bfloat16" when uint16 means that."""

    array: AnyArray
    logical_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.array.ndim == 0:
            raise InvalidArgument("rows: expected an array with a row for each node, found a single number")

    @property
    def num_rows(self) -> int:
        """The first dimension."""
        return int(self.array.shape[0])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The other dimensions."""
        return tuple(self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        return self.array.dtype

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop)."""
        return self.array[start:stop]


@dataclass(frozen=True, slots=True)
class ArrayEdges:
    """Edges of one type in any order, as arrays [num_edges] or memory maps; a CooEdges."""

    src: AnyArray
    dst: AnyArray
    weight: AnyArray | None = None
    time: AnyArray | None = None
    edge_id: AnyArray | None = None

    def __post_init__(self) -> None:
        for name in ("src", "dst", "weight", "time", "edge_id"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self.src),):
                raise InvalidArgument(f"edges: {name}: expected shape [{len(self.src)}], found {list(column.shape)}")

    @property
    def form(self) -> Literal["coo"]:
        """Any order."""
        return "coo"

    @property
    def num_edges(self) -> int:
        """The length of the arrays."""
        return len(self.src)

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield the edges as they come."""
        for start, stop in row_ranges(self.num_edges, _BATCH_EDGES):
            part = slice(start, stop)
            yield EdgeBatch(
                _integers("src", self.src[part]),
                _integers("dst", self.dst[part]),
                None if self.weight is None else np.asarray(self.weight[part], np.float32),
                None if self.time is None else _integers("time", self.time[part]),
                None if self.edge_id is None else _integers("edge_id", self.edge_id[part]),
            )


@dataclass(frozen=True, slots=True)
class CscEdgeArrays:
    """Edges of one type sorted by destination; a CscEdges."""

    arrays: CscArrays

    @property
    def form(self) -> Literal["csc"]:
        """Sorted by destination."""
        return "csc"

    @property
    def num_edges(self) -> int:
        """The length of the arrays."""
        return len(self.arrays.indices)

    def csc(self) -> CscArrays:
        """Return the arrays."""
        return self.arrays


@dataclass(frozen=True, slots=True)
class GraphArrays:
    """A GraphSource of parts. `homogeneous` makes one of a single type."""

    node_counts: Mapping[str, int]
    edges: Mapping[EdgeType, EdgeSource]
    node_times: Mapping[str, Any] | None = None


def homogeneous(edges: EdgeSource, num_nodes: int, node_times: AnyArray | None = None) -> GraphArrays:
    """Return a graph of one node type, "node", and one edge type, ("node", "to", "node")."""
    return GraphArrays({NODE: num_nodes}, {NODE_TO_NODE: edges}, None if node_times is None else {NODE: node_times})


def as_graph_source(source: Any, num_nodes: int | None = None) -> GraphSource:
    """Return what `source` stands for: a GraphSource as it is, or a homogeneous graph of arrays.

    source: (indptr, indices), sorted by destination; or an edge index [2, num_edges], sources above destinations, of
    `num_nodes` nodes (by default as many as it names). Raises InvalidArgument for anything else.
    """
    if hasattr(source, "node_counts") and hasattr(source, "edges"):
        if num_nodes is not None:
            raise InvalidArgument(f"num_nodes: {num_nodes} was given, and the source says itself how many nodes it has")
        graph: GraphSource = source
        return graph
    if isinstance(source, tuple) and len(source) == 2 and np.ndim(source[0]) == np.ndim(source[1]) == 1:
        indptr, indices = (_array(part) for part in source)
        return _checked_count(homogeneous(CscEdgeArrays(CscArrays(indptr, indices)), len(indptr) - 1), num_nodes)
    array = _array(source)
    if array.ndim != 2 or array.shape[0] != 2:
        raise InvalidArgument(
            "graph: expected a graph source, a pair (indptr, indices) or an edge index of shape [2, num_edges], found "
            f"shape {list(array.shape)}"
        )
    if num_nodes is None:
        num_nodes = 1 + max((int(array[:, a:b].max()) for a, b in row_ranges(array.shape[1], _BATCH_EDGES)), default=-1)
    return homogeneous(ArrayEdges(array[0], array[1]), num_nodes)


def as_row_source(source: Any) -> RowSource:
    """Return a RowSource: an array [n, ...], or what reads rows already. Raises InvalidArgument."""
    if hasattr(source, "read") and hasattr(source, "num_rows"):
        rows: RowSource = source if hasattr(source, "row_shape") else VectorRows(source)
        return rows
    return ArrayRows(_array(source))


@dataclass(frozen=True, slots=True)
class VectorRows:
    """A VectorSource as a RowSource."""

    source: Any

    @property
    def num_rows(self) -> int:
        """The first dimension."""
        return int(self.source.num_rows)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The dimension of a vector."""
        return (int(self.source.dim),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the vectors."""
        dtype: np.dtype[Any] = np.dtype(self.source.dtype)
        return dtype

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop)."""
        rows: AnyArray = self.source.read(start, stop)
        return rows


def _array(value: Any) -> AnyArray:
    try:
        return np.asanyarray(value)
    except ValueError as error:
        raise InvalidArgument(f"expected an array: {error}") from error


def _integers(name: str, values: AnyArray) -> AnyArray:
    if values.dtype.kind not in "iu":
        raise InvalidArgument(f"edges: {name}: expected integers, found {values.dtype}")
    return values.astype(np.int64, copy=False)


def _checked_count(graph: GraphArrays, num_nodes: int | None) -> GraphArrays:
    if num_nodes not in (None, graph.node_counts[NODE]):
        raise InvalidArgument(f"indptr: expected {num_nodes + 1} places, found {graph.node_counts[NODE] + 1}")
    return graph
