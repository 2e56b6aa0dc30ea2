"""DGL's DataLoader runs on stored data and gets blocks that its own models compute with."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import (
    CITES,
    WRITES,
    WRITTEN_BY,
    edge_set,
    papers,
    random_graph,
    stored_communities,
)
from tests.gnn_loader.adapters.minibatches import numbered, planned

from outcrop.errors import InvalidArgument, NotFound
from outcrop.gnn_loader import Graph
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NODE_TO_NODE, NodeSeeds

if sys.version_info >= (3, 12):
    pytest.skip("DGL's wheels end with Python 3.11", allow_module_level=True)

import dgl
from dgl.nn import SAGEConv

from outcrop.gnn_loader.adapters.dgl import BlockLoader, CoreSampler, StoredGraph, StoredRows


def sampler(graph: ArrayGraph, fanouts: Any = (4, 3), **options: Any) -> NeighborSampler:
    return NeighborSampler(graph, fanouts, keep_edges=True, **options)


def node_loader(graph: ArrayGraph, seeds: torch.Tensor, core: NeighborSampler, **options: Any) -> Any:
    num_nodes, num_edges = graph.node_types["node"], len(graph.csc(NODE_TO_NODE).indices)
    stored = StoredGraph(graph, {"x": numbered(num_nodes), "y": torch.arange(num_nodes)}, {"w": numbered(num_edges, 1)})
    blocks = CoreSampler(core, prefetch_node_feats=["x"], prefetch_labels=["y"], prefetch_edge_feats=["w"])
    return dgl.dataloading.DataLoader(stored, seeds, blocks, **options)


def check_block(block: Any, graph: ArrayGraph) -> None:
    """Its edges are edges of the graph, by their ids, and its destinations lead its sources."""
    src, dst = block.edges()
    sources, destinations = block.srcdata[dgl.NID], block.dstdata[dgl.NID]
    edges = edge_set(graph, NODE_TO_NODE)
    pairs = list(zip(sources[src].tolist(), destinations[dst].tolist(), strict=True))
    assert [edges[i] for i in block.edata[dgl.EID].tolist()] == pairs
    assert torch.equal(sources[: len(destinations)], destinations)


@pytest.mark.parametrize("expand", ["all", "newcomers"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_loader_gives_blocks_with_features(expand: Any, num_workers: int) -> None:
    graph = random_graph(0)
    seeds = torch.randperm(200)[:50]

    batches = list(node_loader(graph, seeds, sampler(graph, expand=expand), batch_size=16, num_workers=num_workers))

    found = torch.cat([outputs for _, outputs, _ in batches])
    assert torch.equal(found.sort().values, seeds.sort().values)  # DGL's workers take batches from different parts
    for inputs, outputs, blocks in batches:
        for block in blocks:
            check_block(block, graph)
            assert torch.equal(block.edata["w"], numbered(2000, 1)[block.edata[dgl.EID]])
        assert torch.equal(blocks[0].srcdata[dgl.NID], inputs)
        assert torch.equal(blocks[1].srcdata[dgl.NID], blocks[0].dstdata[dgl.NID])
        assert torch.equal(blocks[1].dstdata[dgl.NID], outputs)
        assert torch.equal(blocks[0].srcdata["x"], numbered(200)[inputs])
        assert torch.equal(blocks[1].dstdata["y"], outputs)


@pytest.mark.parametrize("expand", ["all", "newcomers"])
def test_full_neighbourhoods_are_those_that_dgl_finds(expand: Any) -> None:
    graph = random_graph(1)
    arrays = graph.csc(NODE_TO_NODE)
    assert arrays.edge_ids is not None
    parts = (torch.from_numpy(part.astype(np.int64)) for part in (arrays.indptr, arrays.indices, arrays.edge_ids))
    in_memory = dgl.graph(("csc", tuple(parts)))
    seeds = torch.tensor([5, 9, 30])

    ours = CoreSampler(sampler(graph, [-1, -1], expand=expand)).sample_blocks(None, seeds)
    theirs = dgl.dataloading.MultiLayerFullNeighborSampler(2).sample_blocks(in_memory, seeds)

    assert sorted(ours[0].tolist()) == sorted(theirs[0].tolist())
    assert torch.equal(ours[1], theirs[1])
    for block, their_block in zip(ours[2], theirs[2], strict=True):
        assert sorted(block.edata[dgl.EID].tolist()) == sorted(their_block.edata[dgl.EID].tolist())


def test_hetero_blocks_have_every_type() -> None:
    graph = papers(0)
    stored = StoredGraph(graph, {("paper", "x"): numbered(100), ("author", "x"): numbered(40)})
    blocks_of_papers = CoreSampler(sampler(graph, [4, 4]), prefetch_node_feats={"paper": ["x"], "author": ["x"]})

    loader = dgl.dataloading.DataLoader(stored, {"paper": torch.arange(30)}, blocks_of_papers, batch_size=10)

    for number, (inputs, outputs, blocks) in enumerate(loader):
        assert outputs["paper"].tolist() == list(range(10 * number, 10 * number + 10))
        assert torch.equal(blocks[0].srcnodes["author"].data["x"], numbered(40)[inputs["author"]])
        assert torch.equal(blocks[0].srcnodes["paper"].data["x"], numbered(100)[inputs["paper"]])
        for edge_type in (WRITES, CITES, WRITTEN_BY):
            src, dst = blocks[0].edges(etype=edge_type)
            sources = blocks[0].srcnodes[edge_type[0]].data[dgl.NID][src].tolist()
            destinations = blocks[0].dstnodes[edge_type[2]].data[dgl.NID][dst].tolist()
            edges = edge_set(graph, edge_type)
            ids = blocks[0].edges[edge_type].data[dgl.EID].tolist()
            assert [edges[i] for i in ids] == list(zip(sources, destinations, strict=True))


class WithLazyRows(dgl.dataloading.Sampler):  # type: ignore[misc]
    """A sampler that asks the loader for rows of an attached storage."""

    def sample(self, g: Any, indices: torch.Tensor) -> Any:
        return indices, dgl.LazyFeature("rows", indices)


def test_attached_storages_are_read_by_the_loader() -> None:
    graph = dgl.graph(([0, 1], [1, 2]), num_nodes=50)
    loader = dgl.dataloading.DataLoader(graph, torch.arange(10, 30), WithLazyRows(), batch_size=8)
    loader.attach_data("rows", StoredRows(numbered(50)))

    for indices, rows in loader:
        assert torch.equal(rows, numbered(50)[indices])


def test_a_dgl_graph_may_keep_the_topology_and_leave_the_rows_to_storages() -> None:
    storage = StoredRows(numbered(50))

    assert torch.equal(storage.fetch(torch.tensor([3, 3, 1], dtype=torch.int32), "cpu"), numbered(50)[[3, 3, 1]])
    assert not storage.requires_ddp()
    assert storage.fetch(torch.tensor([], dtype=torch.int64), "cpu").shape == (0, 3)


def test_what_is_not_stored_is_named() -> None:
    graph = random_graph(2)

    with pytest.raises(NotFound, match="no data 'z' of type 'node'"):
        StoredGraph(graph, {"x": numbered(200)}).get_node_storage("z", "_N")


def test_seeds_of_two_types_are_refused() -> None:
    seeds = {"paper": torch.tensor([1]), "author": torch.tensor([1])}

    with pytest.raises(InvalidArgument, match=r"expected ids of one node type, found \['author', 'paper'\]"):
        CoreSampler(sampler(papers(0))).sample_blocks(None, seeds)


def test_edges_to_leave_out_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="leaves no edges out"):
        CoreSampler(sampler(random_graph(0))).sample_blocks(None, torch.tensor([1]), exclude_eids=torch.tensor([1]))


def test_edge_data_without_edge_ids_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="keep_edges=True"):
        CoreSampler(NeighborSampler(random_graph(0), [2]), prefetch_edge_feats=["w"])


def test_planned_minibatches_become_blocks() -> None:
    graph = random_graph(3)
    loader = planned(sampler(graph), SeedBatches(NodeSeeds(np.arange(60)), 16), {"x": numbered(200)})

    for inputs, outputs, blocks in BlockLoader(loader, graph, {"y": torch.arange(200)}):
        assert torch.equal(blocks[0].srcdata["x"], numbered(200)[inputs])
        assert torch.equal(blocks[-1].dstdata["y"], outputs)
        for block in blocks:
            check_block(block, graph)


def test_a_dgl_model_learns_from_stored_features_by_a_data_loader(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with stored_communities(tmp_path) as (graph, table, labels):
        assert held_out_accuracy(graph, StoredGraph(graph, {"x": table, "y": labels})) > 0.9


def held_out_accuracy(graph: Graph, stored: StoredGraph) -> float:
    """Train two layers of DGL's own on nodes 0 to 399; return the share of the other 200 that they name."""
    core = NeighborSampler(graph, [4, 4])
    blocks_of_nodes = CoreSampler(core, prefetch_node_feats=["x"], prefetch_labels=["y"])

    def loader(seeds: torch.Tensor) -> Any:
        return dgl.dataloading.DataLoader(stored, seeds, blocks_of_nodes, batch_size=64, shuffle=True)

    layers = torch.nn.ModuleList([SAGEConv(4, 16, "mean"), SAGEConv(16, 2, "mean")])
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.01)

    def scores(blocks: Any) -> torch.Tensor:
        return layers[1](blocks[1], layers[0](blocks[0], blocks[0].srcdata["x"]).relu())

    for _ in range(6):
        for _, _, blocks in loader(torch.arange(400)):
            loss = torch.nn.functional.cross_entropy(scores(blocks), blocks[-1].dstdata["y"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    right = sum(
        int((scores(blocks).argmax(1) == blocks[-1].dstdata["y"]).sum())
        for _, _, blocks in loader(torch.arange(400, 600))
    )
    return right / 200
