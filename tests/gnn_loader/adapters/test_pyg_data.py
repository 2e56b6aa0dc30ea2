"""Planned minibatches as PyG's `Data` and `HeteroData`."""

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import edge_set, papers, random_graph
from tests.gnn_loader.adapters.minibatches import newcomers, numbered, planned
from torch_geometric.data import Data, HeteroData

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.pyg import DataLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import NODE_TO_NODE, EdgeSeeds, NodeSeeds


def test_planned_minibatches_become_data() -> None:
    graph = random_graph(7)
    seeds = np.arange(0, 200, 3)
    loader = planned(newcomers(graph), SeedBatches(NodeSeeds(seeds), 16), {"anything": numbered(200)})

    batches = list(DataLoader(loader, graph, {"y": torch.arange(200)}))

    assert sorted(torch.cat([batch.n_id[: batch.batch_size] for batch in batches]).tolist()) == seeds.tolist()
    edges = edge_set(graph, NODE_TO_NODE)
    for batch in batches:
        assert isinstance(batch, Data)
        assert batch.validate()
        assert torch.equal(batch.x, numbered(200)[batch.n_id])
        assert torch.equal(batch.y, batch.n_id)
        assert [edges[i] for i in batch.e_id.tolist()] == [tuple(p) for p in batch.n_id[batch.edge_index].T.tolist()]


def test_planned_hetero_minibatches_become_hetero_data() -> None:
    graph = papers(2)
    batches = SeedBatches(NodeSeeds(np.arange(40), "author"), 8)
    loader = planned(newcomers(graph), batches, {"paper/x": numbered(100), "author": numbered(40)})
    columns = {("author", "y"): torch.arange(40), ("paper", "year"): torch.arange(100)}

    for batch in DataLoader(loader, graph, columns, attributes={"paper/x": ("paper", "feat")}):
        assert isinstance(batch, HeteroData)
        assert batch.validate()
        assert batch["author"].batch_size == 8
        assert torch.equal(batch["author"].y, batch["author"].n_id)
        assert torch.equal(batch["author"].x, numbered(40)[batch["author"].n_id])
        assert torch.equal(batch["paper"].feat, numbered(100)[batch["paper"].n_id])
        assert torch.equal(batch["paper"].year, batch["paper"].n_id)


def test_a_table_of_a_hetero_graph_wants_its_type() -> None:
    graph = papers(2)
    loader = planned(newcomers(graph), SeedBatches(NodeSeeds(np.arange(4), "paper"), 4), {"paper/x": numbered(100)})

    with pytest.raises(InvalidArgument, match=r"table 'paper/x': expected its node type, one of \['author', 'paper'\]"):
        list(DataLoader(loader, graph, {}))


def test_two_tables_of_one_type_want_names() -> None:
    graph = random_graph(2)
    batches = SeedBatches(NodeSeeds(np.arange(4)), 4)
    loader = planned(newcomers(graph), batches, {"x": numbered(200), "anything": numbered(200, 2)})

    with pytest.raises(InvalidArgument, match="a name of its own"):
        list(DataLoader(loader, graph, {}))
    [batch] = list(DataLoader(loader, graph, {}, attributes={"anything": ("node", "z")}))

    assert torch.equal(batch.z, numbered(200, 2)[batch.n_id])


def test_planned_links_become_edge_labels() -> None:
    graph = random_graph(8)
    links = np.array([[1, 2], [3, 4], [5, 6]])
    loader = planned(newcomers(graph), SeedBatches(EdgeSeeds(links, negatives=1), 3), {"x": numbered(200)})

    [batch] = list(DataLoader(loader, graph, {}))

    ends = batch.n_id[batch.edge_label_index].T
    assert sorted(ends[batch.edge_label == 1].tolist()) == links.tolist()
    assert batch.edge_label.tolist() == [1, 1, 1, 0, 0, 0]


def test_planned_minibatches_that_expand_nodes_again_are_refused() -> None:
    graph = random_graph(9)
    sampler = NeighborSampler(graph, [3, 3])

    with pytest.raises(InvalidArgument, match='expand="newcomers"'):
        list(DataLoader(sampler.sample_many(SeedBatches(NodeSeeds(np.arange(20)), 10)), graph, {}))
