"""A minibatch as PyG describes it: each node expanded once, edges in the order of hops, seeds first."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.rows import RowTable, fetch_tensor
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer, TensorMinibatch, attributes_of
from outcrop.gnn_loader.topology import Topology
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, EdgeType

EdgeIds = Mapping[EdgeType, AnyArray | None]


@dataclass(frozen=True, slots=True)
class _Edges:
    """All edges of one type. row, col, edge: int64 [num_edges], by hop; per_hop: how many each hop drew."""

    row: torch.Tensor
    col: torch.Tensor
    edge: torch.Tensor | None
    per_hop: list[int]


def sampler_output(
    minibatch: TensorMinibatch, edge_types: Sequence[EdgeType], edge_ids: EdgeIds, metadata: Any
) -> SamplerOutput | HeteroSamplerOutput:
    """Return what a PyG sampler returns.

    edge_types: of the graph. edge_ids: by type, the id of the edge at each place, None where that is the place.
    A seed that was given twice comes twice, each time with its edges.
    """
    _check_expanded_once(minibatch)
    edges = {edge_type: _edges_of(minibatch, edge_type, edge_ids) for edge_type in edge_types}
    nodes, trees, num_nodes = minibatch.nodes, minibatch.trees, _nodes_per_hop(minibatch)
    if is_homogeneous(edge_types):
        [one], tree = edges.values(), None if trees is None else trees[NODE]
        node, per_hop = nodes[NODE], num_nodes[NODE]
        return SamplerOutput(node, one.row, one.col, one.edge, tree, per_hop, one.per_hop, metadata=metadata)
    return HeteroSamplerOutput(
        dict(nodes),
        {t: e.row for t, e in edges.items()},
        {t: e.col for t, e in edges.items()},
        {t: e.edge for t, e in edges.items()},
        trees,
        num_nodes,
        {t: e.per_hop for t, e in edges.items()},
        metadata=metadata,
    )


def data_of(
    minibatch: TensorMinibatch,
    edge_types: Sequence[EdgeType],
    edge_ids: EdgeIds,
    columns: Mapping[Any, RowTable],
    attributes: Mapping[str, tuple[str, str]],
) -> Data | HeteroData:
    """Return a planned minibatch as `Data` or `HeteroData` with its features and `columns`; attributes: see
    `attributes_of`."""
    _check_expanded_once(minibatch)
    homogeneous = is_homogeneous(edge_types)
    data = Data() if homogeneous else HeteroData()
    num_nodes = _nodes_per_hop(minibatch)
    for node_type, ids in minibatch.nodes.items():
        store = data if homogeneous else data[node_type]
        store.n_id, store.num_nodes, store.num_sampled_nodes = ids, len(ids), num_nodes[node_type]
        if minibatch.trees is not None:
            store.batch = minibatch.trees[node_type]
    for edge_type in edge_types:
        edges = _edges_of(minibatch, edge_type, edge_ids)
        store = data if homogeneous else data[edge_type]
        store.edge_index, store.num_sampled_edges = torch.stack([edges.row, edges.col]), edges.per_hop
        if edges.edge is not None:
            store.e_id = edges.edge
    for key, table in columns.items():
        node_type, name = key if isinstance(key, tuple) else (minibatch.seed_type, key)
        (data if homogeneous else data[node_type])[name] = fetch_tensor(table, minibatch.nodes[node_type])
    _add_features(data, minibatch, attributes, homogeneous)
    _add_seeds(data, minibatch, homogeneous)
    return data


def repeat_seeds(minibatch: TensorMinibatch) -> TensorMinibatch:
    """Return the minibatch with a row for each seed as given, in that order, where some were given more than once.

    PyG's loaders promise that the first rows are the seeds, and draw some twice when they draw with replacement. Each
    copy has the edges of the first; edges that leave a seed leave its first copy.
    """
    seed_type, given = minibatch.seed_type, minibatch.seed_rows
    num_unique = minibatch.hop_offsets[seed_type][1]
    if torch.equal(given, torch.arange(num_unique)):
        return minibatch
    assert minibatch.trees is None, "disjoint trees have a row for each seed"
    shift = len(given) - num_unique
    first = torch.full((num_unique,), len(given)).scatter_reduce(0, given, torch.arange(len(given)), "amin")
    nodes = minibatch.nodes[seed_type]

    def layer_of_rows(layer: TensorLayer) -> TensorLayer:
        src_type, _, dst_type = layer.edge_type
        if src_type == seed_type:
            rows = layer.indices.long()
            moved = torch.where(rows < num_unique, first[rows.clamp(max=num_unique - 1)], rows + shift)
            layer = replace(layer, indices=moved.int())
        if dst_type != seed_type:
            return layer
        if layer.hop == 0:
            return _with_columns(layer, given)
        return replace(layer, dst_begin=layer.dst_begin + shift, dst_end=layer.dst_end + shift)

    offsets = minibatch.hop_offsets[seed_type]
    return replace(
        minibatch,
        nodes={**minibatch.nodes, seed_type: torch.cat([nodes[given], nodes[num_unique:]])},
        hop_offsets={**minibatch.hop_offsets, seed_type: (0, *(offset + shift for offset in offsets[1:]))},
        layers=tuple(layer_of_rows(layer) for layer in minibatch.layers),
        seed_rows=torch.arange(len(given)),
    )


def _with_columns(layer: TensorLayer, columns: torch.Tensor) -> TensorLayer:
    """The layer with column columns[i] in place i."""
    degrees = layer.indptr.diff().long()[columns]
    indptr = torch.cat([degrees.new_zeros(1), degrees.cumsum(0)])
    starts = layer.indptr.long()[:-1][columns] - indptr[:-1]
    places = torch.arange(int(indptr[-1])) + starts.repeat_interleave(degrees)
    edges = None if layer.edges is None else layer.edges[places]
    return replace(layer, dst_end=len(columns), indptr=indptr.int(), indices=layer.indices[places], edges=edges)


def edge_ids(graph: Topology) -> EdgeIds:
    """Return the ids of a graph's edges by place."""
    return {edge_type: graph.csc(edge_type).edge_ids for edge_type in graph.edge_types}


def _check_expanded_once(minibatch: TensorMinibatch) -> None:
    if not minibatch.expanded_once:
        raise InvalidArgument(
            "a minibatch for PyG holds each edge once, and this one expands nodes in every hop: sample or plan with "
            'expand="newcomers"'
        )


def _edges_of(minibatch: TensorMinibatch, edge_type: EdgeType, edge_ids: EdgeIds) -> _Edges:
    layers = [layer for layer in minibatch.layers if layer.edge_type == edge_type]
    none = torch.zeros(0, dtype=torch.int64)
    per_hop = [sum(len(one.indices) for one in layers if one.hop == hop) for hop in range(minibatch.num_hops)]
    row = torch.cat([none, *(layer.indices.long() for layer in layers)])
    col = torch.cat([none, *(layer.destinations() for layer in layers)])
    if any(layer.edges is None for layer in layers):
        return _Edges(row, col, None, per_hop)
    places = torch.cat([none, *(layer.edges for layer in layers if layer.edges is not None)])
    ids = edge_ids[edge_type]
    return _Edges(row, col, places if ids is None else torch.from_numpy(ids[places.numpy()].astype(int)), per_hop)


def _nodes_per_hop(minibatch: TensorMinibatch) -> dict[str, list[int]]:
    return {name: [b - a for a, b in itertools.pairwise(offsets)] for name, offsets in minibatch.hop_offsets.items()}


def _add_features(
    data: Data | HeteroData, minibatch: TensorMinibatch, attributes: Mapping[str, tuple[str, str]], homogeneous: bool
) -> None:
    for table, (node_type, name) in attributes_of(minibatch.features, minibatch.nodes, attributes).items():
        (data if homogeneous else data[node_type])[name] = minibatch.features[table]


def _add_seeds(data: Data | HeteroData, minibatch: TensorMinibatch, homogeneous: bool) -> None:
    store = data if homogeneous else data[minibatch.seed_type]
    if minibatch.labels is None:
        store.batch_size = minibatch.hop_offsets[minibatch.seed_type][1]
    else:
        store.edge_label_index = minibatch.seed_rows.view(-1, 2).T.contiguous()
        store.edge_label = minibatch.labels


def is_homogeneous(edge_types: Sequence[EdgeType]) -> bool:
    """Return whether PyG calls such a graph homogeneous."""
    return list(edge_types) == [NODE_TO_NODE]
