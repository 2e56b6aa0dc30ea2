"""Graphs and tensors that a framework holds in memory, as sources to import."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from outcrop.errors import InvalidArgument
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, CscArrays, EdgeBatch, EdgeSource, EdgeType

_BATCH = 1 << 20  # edges: 32 MiB at most with all columns


@dataclass(frozen=True, slots=True)
class TensorGraph:
    """A `GraphSource` over tensors of a framework, which stay where they are; an import reads them in pieces."""

    node_counts: Mapping[str, int]
    edges: Mapping[EdgeType, EdgeSource]
    node_times: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TensorEdges:
    """Edges of one type as tensors: a `CooEdges`. Edge i has the id i, so that rows of edge features stay valid.

    src, dst: int64 [num_edges]; weight, time: [num_edges] or None.
    """

    src: torch.Tensor
    dst: torch.Tensor
    weight: torch.Tensor | None = None
    time: torch.Tensor | None = None

    @property
    def form(self) -> Literal["coo"]:
        """Any order."""
        return "coo"

    @property
    def num_edges(self) -> int:
        """The length of the tensors."""
        return self.src.shape[0]

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield the edges in the order of their ids."""
        for start in range(0, self.num_edges, _BATCH):
            stop = min(self.num_edges, start + _BATCH)
            yield EdgeBatch(
                self.src[start:stop].numpy().astype(np.int64, copy=False),
                self.dst[start:stop].numpy().astype(np.int64, copy=False),
                None if self.weight is None else self.weight[start:stop].numpy().astype(np.float32, copy=False),
                None if self.time is None else self.time[start:stop].numpy().astype(np.int64, copy=False),
                np.arange(start, stop, dtype=np.int64),
            )


@dataclass(frozen=True, slots=True)
class TensorCsc:
    """Edges of one type that a framework holds by destination: a `CscEdges`."""

    arrays: CscArrays

    @property
    def form(self) -> Literal["csc"]:
        """Sorted by destination."""
        return "csc"

    @property
    def num_edges(self) -> int:
        """The length of the arrays."""
        return int(self.arrays.indices.shape[0])

    def csc(self) -> CscArrays:
        """Return the arrays, which share the framework's memory."""
        return self.arrays


@dataclass(frozen=True, slots=True)
class TensorRows:
    """A tensor's rows as a `RowSource`; they share its memory.

    NumPy lacks bfloat16, so such rows come as uint16 and `logical_dtype` says what they mean.
    """

    tensor: torch.Tensor

    def __post_init__(self) -> None:
        if self.tensor.ndim == 0:
            raise InvalidArgument("rows: expected a tensor with a row for each node, found a single number")
        if self.tensor.is_sparse or self.tensor.layout != torch.strided:
            raise InvalidArgument(f"rows: expected a dense tensor, found one of layout {self.tensor.layout}")

    @property
    def num_rows(self) -> int:
        """The first dimension."""
        return self.tensor.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The other dimensions."""
        return tuple(self.tensor.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """What `read` returns."""
        return self.read(0, 0).dtype

    @property
    def logical_dtype(self) -> str:
        """The name of the tensor's own type, such as "float32" or "bfloat16"."""
        return str(self.tensor.dtype).removeprefix("torch.")

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop); a tensor on a device is copied from there piece by piece."""
        rows = self.tensor[start:stop].detach().cpu()
        if rows.dtype == torch.bfloat16:
            return rows.contiguous().view(torch.int16).numpy().view(np.uint16)
        return rows.numpy()


def dgl_source(graph: Any, *, weight: str | None = None, time: str | None = None) -> TensorGraph:
    """Return a DGLGraph as a source for `import_graph`.

    weight, time: names of columns of `edata`, numbers per edge; a column that an edge type lacks is none of its own,
    but one that no type has is refused. A node type of several keeps its name; a homogeneous graph has the type
    "node". Edge ids are DGL's own, so rows of `edata` stay valid. Of the formats that the graph has made already, CSC
    is taken first: nothing is sorted then.
    """
    canonical = list(graph.canonical_etypes)
    homogeneous = len(graph.ntypes) == 1 and len(canonical) == 1
    columns = {edge_type: dict(graph.edges[edge_type].data) for edge_type in canonical}
    _check_columns({"weight": weight, "time": time}, columns)
    edges: dict[EdgeType, EdgeSource] = {}
    for edge_type in canonical:
        data = columns[edge_type]
        numbers = data.get(weight or ""), data.get(time or "")
        _check_numbers(edge_type, numbers, graph.num_edges(edge_type))
        if "csc" in graph.formats()["created"]:
            edges[edge_type] = _dgl_csc(graph, edge_type, *numbers)
        else:
            src, dst = (ends.cpu() for ends in graph.edges(etype=edge_type, order="eid"))
            edges[edge_type] = TensorEdges(src, dst, *(None if n is None else n.cpu() for n in numbers))
    if homogeneous:
        return TensorGraph({NODE: graph.num_nodes()}, {NODE_TO_NODE: edges[canonical[0]]})
    return TensorGraph({node_type: graph.num_nodes(node_type) for node_type in graph.ntypes}, edges)


def _dgl_csc(graph: Any, edge_type: EdgeType, weight: torch.Tensor | None, time: torch.Tensor | None) -> TensorCsc:
    indptr, indices, ids = (array.cpu() for array in graph.adj_tensors("csc", etype=edge_type))
    in_order = ids.numel() == 0  # DGL's word for: an edge's id is its place

    def by_place(column: torch.Tensor | None) -> AnyArray | None:
        if column is None:
            return None
        return column.cpu().numpy() if in_order else column.cpu()[ids.long()].numpy()

    edge_ids = None if in_order else ids.numpy()
    return TensorCsc(CscArrays(indptr.numpy(), indices.numpy(), by_place(weight), by_place(time), edge_ids))


def pyg_source(data: Any, *, weight: str | None = None, time: str | None = None) -> TensorGraph:
    """Return a PyG `Data` or `HeteroData` as a source for `import_graph`.

    weight: name of an edge attribute. time: name of an edge attribute or of a node attribute; node times are kept with
    the graph. Edge ids are the columns of `edge_index`, so rows of `edge_attr` stay valid.
    Raises InvalidArgument where there is no `edge_index`, or nobody has the named attribute.
    """
    hetero = hasattr(data, "node_types") and hasattr(data, "edge_types")
    node_stores = {t: data[t] for t in data.node_types} if hetero else {NODE: data}
    edge_stores = {tuple(t): data[t] for t in data.edge_types} if hetero else {NODE_TO_NODE: data}
    node_times = _pyg_node_times(node_stores, time)
    _check_columns({"weight": weight, "time": None if node_times else time}, edge_stores)
    counts = {name: _pyg_count(name, store) for name, store in node_stores.items()}
    edges: dict[EdgeType, EdgeSource] = {}
    for edge_type, store in edge_stores.items():
        edges[edge_type] = _pyg_edges(edge_type, store, weight, None if node_times else time)
    return TensorGraph(counts, edges, node_times or None)


def _pyg_node_times(stores: Mapping[str, Any], time: str | None) -> dict[str, AnyArray]:
    is_node: Callable[[Any], bool] = lambda s: not hasattr(s, "is_node_attr") or s.is_node_attr(time)  # noqa: E731
    if time is None:
        return {}
    return {name: s[time].cpu().numpy().astype(np.int64) for name, s in stores.items() if time in s and is_node(s)}


def _pyg_count(name: str, store: Any) -> int:
    if store.num_nodes is None:
        raise InvalidArgument(f"node type {name!r}: PyG does not know how many nodes it has; set num_nodes")
    return int(store.num_nodes)


def _pyg_edges(edge_type: EdgeType, store: Any, weight: str | None, time: str | None) -> TensorEdges:
    if "edge_index" not in store:
        raise InvalidArgument(f"edge type {edge_type}: expected an edge_index [2, num_edges], found none")
    index = store["edge_index"].cpu()
    if index.ndim != 2 or index.shape[0] != 2:
        raise InvalidArgument(f"edge type {edge_type}: expected an edge_index [2, num_edges], found {index.shape}")
    columns = [store[name].cpu() if name is not None and name in store else None for name in (weight, time)]
    _check_numbers(edge_type, columns, index.shape[1])
    return TensorEdges(index[0], index[1], *columns)


def _check_columns(wanted: Mapping[str, str | None], stores: Mapping[EdgeType, Any]) -> None:
    for use, name in wanted.items():
        if name is not None and not any(name in store for store in stores.values()):
            raise InvalidArgument(f"{use}={name!r}: no edge type has an attribute of that name")


def _check_numbers(edge_type: EdgeType, columns: Any, num_edges: int) -> None:
    for column in columns:
        if column is not None and tuple(column.shape) != (num_edges,):
            found = list(column.shape)
            raise InvalidArgument(f"edge type {edge_type}: expected a number per edge [{num_edges}], found {found}")
