"""DGL: its feature storages and block samplers over stored data, and minibatches as blocks.

    graph = dgl.StoredGraph(stored_graph, {"x": features, "y": labels})
    sampler = dgl.CoreSampler(NeighborSampler(stored_graph, [10, 10]), prefetch_node_feats=["x"], prefetch_labels=["y"])
    loader = dgl.dataloading.DataLoader(graph, train_ids, sampler, batch_size=1024, shuffle=True)

For DGL 1.1.3, the last that works with every torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dgl
import torch
from dgl.dataloading import BlockSampler
from dgl.storages import FeatureStorage

from outcrop.errors import InvalidArgument, NotFound
from outcrop.gnn_loader.adapters.rows import RowTable, as_table, fetch_tensor
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer, TensorMinibatch, attributes_of, tensor_minibatch
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.topology import Topology
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, EdgeType, Minibatch, NodeSeeds

Rows = RowTable | torch.Tensor | AnyArray
Blocks = list[Any]


class StoredRows(FeatureStorage):
    """A table as a `FeatureStorage`: for `StoredGraph`, and for `DataLoader.attach_data(name, storage)`."""

    def __init__(self, rows: Rows) -> None:
        self._table = as_table(rows)

    def fetch(self, indices: Any, device: Any, pin_memory: bool | None = False, **_: Any) -> torch.Tensor:
        """Return the rows of `indices`, integers of any type, on `device`; through page-locked memory if asked."""
        rows = fetch_tensor(self._table, indices)
        if pin_memory:
            rows = rows.pin_memory()
        return rows.to(device, non_blocking=bool(pin_memory))


class StoredGraph:
    """What DGL's `DataLoader` needs of a graph, while nothing of the graph is in DGL's memory.

    Node and edge data are asked for by the names given here. Sampling is `CoreSampler`'s.
    """

    def __init__(
        self,
        graph: Topology,
        node_data: Mapping[str, Rows] | Mapping[tuple[str, str], Rows],
        edge_data: Mapping[str, Rows] | Mapping[tuple[EdgeType, str], Rows] | None = None,
    ) -> None:
        """node_data: by name (one node type) or (node type, name); edge_data: by name or (edge type, name), rows by
        edge id."""
        self._graph = graph
        self._nodes = {_key(key, NODE): StoredRows(rows) for key, rows in node_data.items()}
        self._edges = {_key(key, NODE_TO_NODE): StoredRows(rows) for key, rows in (edge_data or {}).items()}

    @property
    def device(self) -> torch.device:
        """Where ids are sampled."""
        return torch.device("cpu")

    @property
    def ntypes(self) -> list[str]:
        """The node types."""
        return list(self._graph.node_types)

    @property
    def canonical_etypes(self) -> list[EdgeType]:
        """The edge types."""
        return list(self._graph.edge_types)

    def num_nodes(self, ntype: str = NODE) -> int:
        """Return how many nodes a type has."""
        return self._graph.node_types[ntype]

    def get_node_storage(self, key: str, ntype: str | None = None) -> StoredRows:
        """Return the node data of a name; DGL's loader asks with the block's node type."""
        return _storage(self._nodes, _named(ntype, "_N", NODE), key)

    def get_edge_storage(self, key: str, etype: Any = None) -> StoredRows:
        """Return the edge data of a name."""
        return _storage(self._edges, _named(etype, ("_N", "_E", "_N"), NODE_TO_NODE), key)


def _key(key: Any, only_type: Any) -> tuple[Any, str]:
    return key if isinstance(key, tuple) else (only_type, key)


def _named(given: Any, dgls: Any, ours: Any) -> Any:
    """Our name of a type: DGL calls the types of a homogeneous block _N and _E."""
    return ours if given is None or given == dgls else given


def _storage(storages: Mapping[tuple[Any, str], StoredRows], of_type: Any, key: str) -> StoredRows:
    if (of_type, key) not in storages:
        raise NotFound(f"no data {key!r} of type {of_type!r}; there are {sorted(storages, key=str)}")
    return storages[(of_type, key)]


class CoreSampler(BlockSampler):
    """A DGL sampler that draws in the core and returns blocks.

    It follows torch's generator: `torch.manual_seed` repeats a run, and the workers of a DataLoader draw apart.
    """

    def __init__(
        self,
        sampler: NeighborSampler,
        prefetch_node_feats: Any = None,
        prefetch_labels: Any = None,
        prefetch_edge_feats: Any = None,
    ) -> None:
        """prefetch_...: names of data that the loader shall fetch, as in DGL; edge data needs keep_edges=True."""
        super().__init__(prefetch_node_feats, prefetch_labels, prefetch_edge_feats)
        if self.prefetch_edge_feats and not sampler.options.keep_edges:
            raise InvalidArgument("prefetch_edge_feats: make the sampler with keep_edges=True")
        self._sampler = sampler

    def sample_blocks(self, g: Any, seed_nodes: Any, exclude_eids: Any = None) -> tuple[Any, Any, Blocks]:
        """Return input nodes, output nodes (the seeds, each once) and the blocks, input side first.

        seed_nodes: ids, or by node type ids of one type. exclude_eids: refused; nothing is left out.
        """
        if exclude_eids is not None:
            raise InvalidArgument("exclude_eids: the sampler leaves no edges out")
        seeds = _seeds(seed_nodes)
        drawn = self._sampler.sample(seeds, batch=int(torch.randint(2**62, ())))
        graph = self._sampler.graph
        return blocks_of(tensor_minibatch(drawn), graph)


def _seeds(seed_nodes: Any) -> NodeSeeds:
    if isinstance(seed_nodes, Mapping):
        given = {name: ids for name, ids in seed_nodes.items() if len(ids)}
        if len(given) != 1:
            raise InvalidArgument(f"seed_nodes: expected ids of one node type, found {sorted(given)}")
        [(node_type, ids)] = given.items()
        return NodeSeeds(ids.cpu().numpy(), node_type)
    return NodeSeeds(seed_nodes.cpu().numpy(), NODE)


def blocks_of(minibatch: TensorMinibatch, graph: Topology) -> tuple[Any, Any, Blocks]:
    """Return a minibatch of any loader as (input nodes, output nodes, blocks), as DGL's samplers do.

    Blocks carry dgl.NID and, where the minibatch says which edges were drawn, dgl.EID. Where each node was expanded
    once, a block holds the edges of all nodes known to it, from whichever hop they come.
    """
    hops = range(minibatch.num_hops)
    blocks = [_block(minibatch, graph, hop) for hop in reversed(hops)]
    outputs = {name: ids[: minibatch.hop_offsets[name][1]] for name, ids in minibatch.nodes.items()}
    if list(graph.edge_types) == [NODE_TO_NODE]:
        return minibatch.nodes[NODE], outputs[NODE], blocks
    return dict(minibatch.nodes), outputs, blocks


def _block(minibatch: TensorMinibatch, graph: Topology, hop: int) -> Any:
    num_src = {name: offsets[hop + 2] for name, offsets in minibatch.hop_offsets.items()}
    num_dst = {name: offsets[hop + 1] for name, offsets in minibatch.hop_offsets.items()}
    layers = {edge_type: minibatch.edges_before(hop, edge_type) for edge_type in graph.edge_types}
    in_order = torch.zeros(0, dtype=torch.int64)  # DGL's word for: an edge's id in the block is its place
    csc = {name: ("csc", (one.indptr.long(), one.indices.long(), in_order)) for name, one in layers.items()}
    if list(graph.edge_types) == [NODE_TO_NODE]:
        block = dgl.create_block(csc[NODE_TO_NODE], num_src[NODE], num_dst[NODE])
        block.srcdata[dgl.NID] = minibatch.nodes[NODE][: num_src[NODE]]
        block.dstdata[dgl.NID] = minibatch.nodes[NODE][: num_dst[NODE]]
        _set_edge_ids(block.edges["_E"].data, layers[NODE_TO_NODE], graph)
        return block
    block = dgl.create_block(csc, num_src, num_dst)
    for name in block.srctypes:
        block.srcnodes[name].data[dgl.NID] = minibatch.nodes[name][: num_src[name]]
    for name in block.dsttypes:
        block.dstnodes[name].data[dgl.NID] = minibatch.nodes[name][: num_dst[name]]
    for edge_type, one in layers.items():
        _set_edge_ids(block.edges[edge_type].data, one, graph)
    return block


def _set_edge_ids(data: Any, edges: TensorLayer, graph: Topology) -> None:
    if edges.edges is None:
        return
    ids = graph.csc(edges.edge_type).edge_ids
    data[dgl.EID] = edges.edges if ids is None else torch.from_numpy(ids[edges.edges.numpy()])


class BlockLoader:
    """Minibatches of a planned, online or fresh loader as (input nodes, output nodes, blocks).

    The first block's `srcdata` has the loader's features, the last one's `dstdata` the given columns of the seeds.
    """

    def __init__(
        self,
        loader: Iterable[Minibatch],
        graph: Topology,
        labels: Mapping[str, Rows],
        *,
        attributes: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        """labels: by name, rows of the seeds' type, such as {"y": labels}. attributes: by table of the loader, the node
        type and the name of its rows; by default the only type, or the one of the table's name, and "x"."""
        self._loader = loader
        self._graph = graph
        self._labels = {name: as_table(rows) for name, rows in labels.items()}
        self._attributes = attributes or {}

    def __iter__(self) -> Iterator[tuple[Any, Any, Blocks]]:
        """Yield one triple per minibatch."""
        for minibatch in self._loader:
            tensors = tensor_minibatch(minibatch)
            del minibatch
            triple = self._with_data(tensors)
            del tensors
            yield triple
            del triple  # with it goes the last hold on the loader's buffer

    def _with_data(self, tensors: TensorMinibatch) -> tuple[Any, Any, Blocks]:
        inputs, outputs, blocks = blocks_of(tensors, self._graph)
        homogeneous = not isinstance(inputs, dict)
        for table, (node_type, name) in attributes_of(tensors.features, tensors.nodes, self._attributes).items():
            data = blocks[0].srcdata if homogeneous else blocks[0].srcnodes[node_type].data
            data[name] = tensors.features[table]
        seeds = outputs if homogeneous else outputs[tensors.seed_type]
        data = blocks[-1].dstdata if homogeneous else blocks[-1].dstnodes[tensors.seed_type].data
        for name, column in self._labels.items():
            data[name] = fetch_tensor(column, seeds)
        return inputs, outputs, blocks
