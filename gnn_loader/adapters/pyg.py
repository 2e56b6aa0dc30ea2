"""PyG: its feature store, graph store and sampler over stored data, and planned minibatches as `Data`.

    store = pyg.StoredFeatures({"x": features, "y": labels})
    sampler = NeighborSampler(graph, [10, 10], expand="newcomers")
    loader = NeighborLoader((store, pyg.StoredGraph(graph)), num_neighbors=[], input_nodes=train_ids,
                            neighbor_sampler=pyg.CoreSampler(sampler), batch_size=1024, shuffle=True)

PyG's own sampler needs pyg-lib; a loader that is given one does not look for it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data, EdgeAttr, FeatureStore, GraphStore, HeteroData, TensorAttr
from torch_geometric.data.graph_store import EdgeLayout
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.neighbor_sampler import neg_sample

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.pyg_output import data_of, edge_ids, is_homogeneous, repeat_seeds, sampler_output
from outcrop.gnn_loader.adapters.rows import RowTable, as_table, fetch_tensor
from outcrop.gnn_loader.adapters.tensor_minibatch import tensor_minibatch
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.topology import Topology
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, EdgeSeeds, EdgeType, Minibatch, NodeSeeds, Seeds

Rows = RowTable | torch.Tensor | AnyArray


class StoredFeatures(FeatureStore):
    """A `FeatureStore` of stored tables, and of tensors for what is small: PyG fetches every attribute for every
    sampled node, so labels are better kept in memory."""

    def __init__(self, tables: Mapping[str, Rows] | Mapping[tuple[str, str], Rows]) -> None:
        """tables: by attribute name (one node type), or by (node type, attribute name)."""
        super().__init__()
        pairs = ((key if isinstance(key, tuple) else (None, key), rows) for key, rows in tables.items())
        self._tables: dict[tuple[str | None, str], RowTable] = {key: as_table(rows) for key, rows in pairs}

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """Return the attributes, as new objects each time: PyG's loaders write the ids that they want into them."""
        return [TensorAttr(group_name=group, attr_name=name) for group, name in self._tables]

    def _get_tensor(self, attr: TensorAttr) -> torch.Tensor:
        table = self._table(attr)
        rows = fetch_tensor(table, _row_ids(attr.index, table.num_rows))
        return rows[0] if isinstance(attr.index, int) else rows

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...]:
        table = self._table(attr)
        return (table.num_rows, *table.row_shape)

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> bool:
        raise InvalidArgument(f"{attr.attr_name!r}: stored tables do not change; import a new version")

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        raise InvalidArgument(f"{attr.attr_name!r}: stored tables are not removed here, but by drop_features")

    def _table(self, attr: TensorAttr) -> RowTable:
        key = (attr.group_name, attr.attr_name)
        if key not in self._tables:
            raise KeyError(f"no table {key}; there are {sorted(self._tables, key=str)}")
        return self._tables[key]


def _row_ids(index: Any, num_rows: int) -> AnyArray:
    """What PyG writes as an index, as row numbers: None and slices too; a mask selects rows."""
    if index is None:
        return np.arange(num_rows)
    if isinstance(index, slice):
        return np.arange(num_rows)[index]
    array: AnyArray = index.cpu().numpy() if isinstance(index, torch.Tensor) else np.asarray(index)
    if array.dtype == np.bool_:
        return np.flatnonzero(array)
    return np.atleast_1d(array)


class StoredGraph(GraphStore):
    """A `GraphStore` of a stored graph, by destination (CSC). What is asked for is made in memory, as int64; sampling
    by `CoreSampler` asks for nothing."""

    def __init__(self, graph: Topology) -> None:
        """graph: opened, and open for as long as this is used."""
        super().__init__()
        self._graph = graph

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """Return the edge types, as new objects each time."""
        nodes, types = self._graph.node_types, self._graph.edge_types
        names = [None] if is_homogeneous(types) else types
        sizes = [(nodes[src_type], nodes[dst_type]) for src_type, _, dst_type in types]
        return [EdgeAttr(name, EdgeLayout.CSC, size=size) for name, size in zip(names, sizes, strict=True)]

    def _get_edge_index(self, attr: EdgeAttr) -> tuple[torch.Tensor, torch.Tensor] | None:
        edge_type = NODE_TO_NODE if attr.edge_type is None else tuple(attr.edge_type)
        if edge_type not in self._graph.edge_types or attr.layout == EdgeLayout.CSR:
            return None  # PyG's word for: not found
        arrays = self._graph.csc(edge_type)
        row = torch.from_numpy(arrays.indices.astype(np.int64))
        if attr.layout == EdgeLayout.CSC:
            return row, torch.from_numpy(arrays.indptr.astype(np.int64))
        return row, torch.from_numpy(np.repeat(np.arange(len(arrays.indptr) - 1), np.diff(arrays.indptr)))

    def _put_edge_index(self, edge_index: Any, attr: EdgeAttr) -> bool:
        raise InvalidArgument("stored graphs do not change; import a new version")

    def _remove_edge_index(self, attr: EdgeAttr) -> bool:
        raise InvalidArgument("stored graphs are not removed here, but by drop_graph")


class CoreSampler(BaseSampler):
    """A PyG sampler that draws in the core.

    It follows torch's generator as PyG's samplers do: `torch.manual_seed` repeats a run, and the workers of a
    DataLoader draw apart.
    """

    def __init__(self, sampler: NeighborSampler) -> None:
        """sampler: made with expand="newcomers", since PyG's minibatches hold each edge once."""
        if sampler.options.expand != "newcomers":
            raise InvalidArgument(
                f'sampler: PyG expands each node once, found expand="{sampler.options.expand}"; '
                'make it with expand="newcomers"'
            )
        self._sampler = sampler

    def sample_from_nodes(self, index: NodeSamplerInput, **_: Any) -> SamplerOutput | HeteroSamplerOutput:
        """Return the neighbourhood of nodes, which come first in it, as given."""
        drawn = self._draw(NodeSeeds(_array(index.node), index.input_type or NODE, _times(index.time)))
        return self._output(drawn, (index.input_id, index.time))

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput | HeteroSamplerOutput:
        """Return the neighbourhood of links, given and drawn: `binary` draws both ends, `triplet` destinations."""
        edge_type: EdgeType = NODE_TO_NODE if index.input_type is None else tuple(index.input_type)
        num_given = index.row.numel()
        src, dst = self._links(index, neg_sampling, edge_type)
        times = None if index.time is None else index.time.repeat(math.ceil(len(src) / max(1, num_given)))[: len(src)]
        drawn = self._draw(EdgeSeeds(np.stack([_array(src), _array(dst)], axis=1), edge_type, times=_times(times)))
        rows = torch.from_numpy(drawn.seed_rows.astype(np.int64)).view(-1, 2).T.contiguous()
        if neg_sampling is not None and neg_sampling.is_triplet():
            negatives = rows[1, num_given:].view(-1, num_given).T.squeeze(-1)
            metadata = (index.input_id, rows[0, :num_given], rows[1, :num_given], negatives, index.time)
            return self._output(drawn, metadata, num_given)
        return self._output(drawn, (index.input_id, rows, _labels(index, neg_sampling, len(src)), times), num_given)

    def _links(
        self, index: EdgeSamplerInput, how: NegativeSampling | None, edge_type: EdgeType
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sources and destinations of the given links, and of the drawn ones behind them."""
        if how is None:
            return index.row, index.col
        dst = self._negatives(how, index, edge_type, "dst")
        if how.is_triplet():
            return index.row.repeat(1 + math.ceil(how.amount)), torch.cat([index.col, dst])
        return torch.cat([index.row, self._negatives(how, index, edge_type, "src")]), torch.cat([index.col, dst])

    def _negatives(
        self, how: NegativeSampling, index: EdgeSamplerInput, edge_type: EdgeType, endpoint: str
    ) -> torch.Tensor:
        node_type, given = (edge_type[0], index.row) if endpoint == "src" else (edge_type[2], index.col)
        graph = self._sampler.graph
        times = None if index.time is None else graph.node_times(node_type)
        born = None if times is None else torch.from_numpy(times.copy())
        drawn: torch.Tensor = neg_sample(given, how, graph.node_types[node_type], index.time, born, endpoint)
        return drawn

    def _draw(self, seeds: Seeds) -> Minibatch:
        return self._sampler.sample(seeds, batch=int(torch.randint(2**62, ())))

    def _output(
        self, drawn: Minibatch, metadata: Any, num_links: int | None = None
    ) -> SamplerOutput | HeteroSamplerOutput:
        graph, tensors = self._sampler.graph, tensor_minibatch(drawn)
        if num_links is None:
            tensors = repeat_seeds(tensors)
        elif tensors.trees is not None:  # the core numbers trees by end of a link; PyG by given link
            tensors = replace(tensors, trees={t: tree // 2 % num_links for t, tree in tensors.trees.items()})
        return sampler_output(tensors, graph.edge_types, edge_ids(graph), metadata)


def _array(ids: torch.Tensor) -> AnyArray:
    array: AnyArray = ids.cpu().numpy()
    return array


def _times(time: torch.Tensor | None) -> AnyArray | None:
    return None if time is None else _array(time)


def _labels(index: EdgeSamplerInput, how: NegativeSampling | None, num_links: int) -> torch.Tensor | None:
    """The labels of given links, and zeros for drawn ones; without negatives, what was given."""
    given: torch.Tensor | None = index.label
    if how is None:
        return given
    given = torch.ones(index.row.numel()) if given is None else given
    return torch.cat([given, given.new_zeros((num_links - len(given), *given.shape[1:]))])


class DataLoader:
    """Minibatches of a planned, online or fresh loader as `Data` or `HeteroData`.

    Seeds come first: `out[:batch.batch_size]` are theirs. Of links there are `edge_label_index` and `edge_label`.
    """

    def __init__(
        self,
        loader: Iterable[Minibatch],
        graph: Topology,
        columns: Mapping[str, Rows] | Mapping[tuple[str, str], Rows],
        *,
        attributes: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """loader: its sampler made with expand="newcomers". columns: attributes to add to what the loader brings, such
        as {"y": labels}: by name for the seeds' type, or by (node type, name). attributes: by table of the loader, the
        node type and the name of its rows; by default the only type, or the one of the table's name, and "x"."""
        self._loader = loader
        self._graph = graph
        self._columns = {key: as_table(rows) for key, rows in columns.items()}
        self._attributes = attributes or {}

    def __iter__(self) -> Iterator[Data | HeteroData]:
        """Yield one `Data` per minibatch."""
        ids = edge_ids(self._graph)
        for minibatch in self._loader:
            tensors = tensor_minibatch(minibatch)
            del minibatch
            data = data_of(tensors, self._graph.edge_types, ids, self._columns, self._attributes)
            del tensors
            yield data
            del data  # with it goes the last hold on the loader's buffer
