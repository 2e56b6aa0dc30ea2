"""What a sampler reads: the edges of a graph by destination, stored or from arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, CscArrays, EdgeType, Int64Array


class Topology(Protocol):
    """A graph that can be sampled: `Graph`, where it is stored, or `ArrayGraph`."""

    @property
    def node_types(self) -> Mapping[str, int]:
        """How many nodes each type has. The order of types is part of the graph."""
        ...

    @property
    def edge_types(self) -> Sequence[EdgeType]:
        """The edge types; their order is part of the graph."""
        ...

    def csc(self, edge_type: EdgeType) -> CscArrays:
        """Return one edge type as C-contiguous arrays: indptr and times int64, indices uint32, weights float32."""
        ...

    def times_ascend(self, edge_type: EdgeType) -> bool:
        """Whether the edges into each node are ordered by time, the earliest first."""
        ...

    def node_times(self, node_type: str) -> Int64Array | None:
        """Return the time of each node of a type, int64; None where nodes have none."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayGraph:
    """A graph of arrays in memory, not copied where they have the core's types.

    edges: by type, (indptr, indices, weights, times), of which the last two may be missing.
    Raises InvalidArgument for arrays that do not fit each other; sources out of range are found by sampling.
    """

    node_types: Mapping[str, int]
    edges: Mapping[EdgeType, CscArrays]
    times: Mapping[str, Int64Array]

    @staticmethod
    def homogeneous(indptr: Any, indices: Any, weights: Any = None, times: Any = None) -> "ArrayGraph":
        """Return the graph of one node type, "node", and one edge type."""
        return ArrayGraph.of({NODE: len(indptr) - 1}, {NODE_TO_NODE: CscArrays(indptr, indices, weights, times)})

    @staticmethod
    def of(
        node_types: Mapping[str, int],
        edges: Mapping[EdgeType, CscArrays],
        node_times: Mapping[str, Any] | None = None,
    ) -> "ArrayGraph":
        """Return the graph of several types, its arrays checked and in the core's types."""
        checked = {edge_type: _checked(edge_type, node_types, arrays) for edge_type, arrays in edges.items()}
        times = {name: _typed(f"times of {name}", values, np.int64) for name, values in (node_times or {}).items()}
        return ArrayGraph(dict(node_types), checked, times)

    @property
    def edge_types(self) -> Sequence[EdgeType]:
        """The edge types, as given."""
        return tuple(self.edges)

    def csc(self, edge_type: EdgeType) -> CscArrays:
        """Return the arrays of one edge type."""
        return self.edges[edge_type]

    def times_ascend(self, edge_type: EdgeType) -> bool:
        """Whether the edges into each node are ordered by time; looks at all of them."""
        indptr, _, _, times, _ = self.edges[edge_type]
        if times is None:
            return False
        falls = np.flatnonzero(times[1:] < times[:-1]) + 1
        return bool(np.isin(falls, indptr).all())

    def node_times(self, node_type: str) -> Int64Array | None:
        """Return the times given for a node type."""
        return self.times.get(node_type)


def _checked(edge_type: EdgeType, node_types: Mapping[str, int], arrays: CscArrays) -> CscArrays:
    name = "-".join(edge_type)
    src_type, _, dst_type = edge_type
    for node_type in (src_type, dst_type):
        if node_type not in node_types:
            raise InvalidArgument(f"edges {name}: expected node types among {sorted(node_types)}, found {node_type!r}")
    indptr, indices, weights, times, edge_ids = arrays
    if len(indptr) != node_types[dst_type] + 1:
        raise InvalidArgument(
            f"edges {name}: indptr: expected {node_types[dst_type] + 1} values, one more than {dst_type} nodes, "
            f"found {len(indptr)}"
        )
    return CscArrays(
        _typed(f"edges {name}: indptr", indptr, np.int64),
        _sources(f"edges {name}: indices", indices, node_types[src_type]),
        None if weights is None else _typed(f"edges {name}: weights", weights, np.float32),
        None if times is None else _typed(f"edges {name}: times", times, np.int64),
        edge_ids,
    )


def _sources(what: str, indices: Any, num_nodes: int) -> AnyArray:
    """Sources as uint32; a wider or signed number that does not fit must not wrap around to one that does."""
    array = np.asarray(indices)
    if array.dtype == np.uint32:
        return np.ascontiguousarray(array)
    if array.size and (array.min() < 0 or array.max() >= num_nodes):
        raise InvalidArgument(
            f"{what}: expected sources of [0, {num_nodes}), found some of [{array.min()}, {array.max()}]"
        )
    return _typed(what, array, np.uint32)


def _typed(what: str, values: Any, dtype: type[np.generic]) -> AnyArray:
    array = np.asarray(values)
    wanted = np.dtype(dtype)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and wanted.kind in "iu") or array.dtype.kind not in "iuf":
        raise InvalidArgument(
            f"{what}: expected {wanted} or what converts to it, one-dimensional, found {array.dtype} {array.shape}"
        )
    return np.ascontiguousarray(array, dtype=wanted)
