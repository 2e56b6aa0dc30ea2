"""Graphs: their edge types, sources to import one from, and what a stored one is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from outcrop.types.arrays import Float32Array, Int64Array

# (source type, relation, destination type). A homogeneous graph has the node type "node" and this one edge type:
EdgeType = tuple[str, str, str]
NODE = "node"
NODE_TO_NODE: EdgeType = (NODE, "to", NODE)


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
class EdgeStatistics:
    """Of one edge type: edges, in-degrees of the destinations, and which columns the edges have.

    in_degrees: of all destinations, [least, median, 90 %, 99 %, most]; zeros where there are none.
    """

    num_edges: int
    mean_in_degree: float
    in_degrees: tuple[int, ...]
    without_in_edges: int
    weights: bool
    times: bool
    edge_ids: bool


@dataclass(frozen=True, slots=True)
class GraphStatistics:
    """What a graph is and where it lies. node_times: types whose nodes have a time. placement: "memory" or "map";
    memory_bytes: held of the budget."""

    num_nodes: dict[str, int]
    node_times: tuple[str, ...]
    edges: dict[EdgeType, EdgeStatistics]
    placement: str
    memory_bytes: int
    disk_bytes: int
