"""PyG's own loaders run on the stores and the sampler, without pyg-lib."""

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
from tests.gnn_loader.adapters.minibatches import newcomers, numbered
from torch_geometric.data import Data, TensorAttr
from torch_geometric.loader import LinkNeighborLoader, NeighborLoader
from torch_geometric.nn import SAGEConv
from torch_geometric.sampler import NegativeSampling

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import Graph
from outcrop.gnn_loader.adapters.pyg import CoreSampler, StoredFeatures, StoredGraph
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NODE_TO_NODE


def node_loader(graph: ArrayGraph, seeds: Any, **options: Any) -> NeighborLoader:
    features = StoredFeatures({"x": numbered(graph.node_types["node"])})
    sampler = CoreSampler(newcomers(graph))
    return NeighborLoader((features, StoredGraph(graph)), [], seeds, neighbor_sampler=sampler, **options)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_neighbor_loader_gives_features_and_real_edges(num_workers: int) -> None:
    graph = random_graph(0)
    edges = edge_set(graph, NODE_TO_NODE)
    seeds = torch.randperm(200)[:50]

    batches = list(node_loader(graph, seeds, batch_size=16, num_workers=num_workers))

    assert torch.equal(torch.cat([batch.n_id[: batch.batch_size] for batch in batches]), seeds)
    assert torch.equal(torch.cat([batch.input_id for batch in batches]), torch.arange(50))
    for batch in batches:
        assert torch.equal(batch.x, numbered(200)[batch.n_id])
        ends = batch.n_id[batch.edge_index].T.tolist()
        assert [edges[i] for i in batch.e_id.tolist()] == [tuple(pair) for pair in ends]
        assert sum(batch.num_sampled_nodes) == len(batch.n_id)
        assert sum(batch.num_sampled_edges) == len(batch.e_id)


def test_all_neighbours_are_drawn_once_for_each_node_within_reach() -> None:
    graph = random_graph(1)
    sampler = CoreSampler(newcomers(graph, [-1, -1]))
    features = StoredFeatures({"x": numbered(200)})

    [batch] = NeighborLoader(
        (features, StoredGraph(graph)), [], torch.tensor([5, 9]), neighbor_sampler=sampler, batch_size=2
    )

    reached = {5, 9} | {s for s, d in edge_set(graph, NODE_TO_NODE).values() if d in (5, 9)}
    wanted = {i for i, (_, d) in edge_set(graph, NODE_TO_NODE).items() if d in reached}
    assert sorted(batch.e_id.tolist()) == sorted(wanted)


def test_a_seed_given_twice_comes_twice_with_its_edges() -> None:
    graph = random_graph(2)
    seeds = torch.tensor([7, 3, 7, 7, 11])

    [batch] = list(node_loader(graph, seeds, batch_size=5))

    assert batch.n_id[:5].tolist() == [7, 3, 7, 7, 11]
    edges = edge_set(graph, NODE_TO_NODE)
    assert [edges[i] for i in batch.e_id.tolist()] == [tuple(p) for p in batch.n_id[batch.edge_index].T.tolist()]
    sources = [batch.edge_index[0][batch.edge_index[1] == row].tolist() for row in (0, 2, 3)]
    assert len(sources[0]) > 0
    assert sources[0] == sources[1] == sources[2]
    assert batch.num_sampled_nodes[0] == 5
    assert sum(batch.num_sampled_edges) == batch.edge_index.shape[1]


def test_manual_seed_repeats_a_run_and_epochs_differ() -> None:
    graph = random_graph(3)

    def epoch() -> list[list[int]]:
        return [batch.e_id.tolist() for batch in node_loader(graph, torch.arange(60), batch_size=20)]

    torch.manual_seed(5)
    first, second = epoch(), epoch()
    torch.manual_seed(5)

    assert epoch() == first
    assert first != second


def test_hetero_neighbor_loader_gives_every_type() -> None:
    graph = papers(0)
    features = StoredFeatures(
        {("paper", "x"): numbered(100), ("author", "x"): numbered(40), ("paper", "y"): torch.arange(100)}
    )
    sampler = CoreSampler(newcomers(graph, [4, 4]))

    loader = NeighborLoader(
        (features, StoredGraph(graph)), [], ("paper", torch.arange(30)), neighbor_sampler=sampler, batch_size=10
    )

    for number, batch in enumerate(loader):
        assert batch["paper"].n_id[:10].tolist() == list(range(10 * number, 10 * number + 10))
        assert torch.equal(batch["paper"].y, batch["paper"].n_id)
        assert torch.equal(batch["author"].x, numbered(40)[batch["author"].n_id])
        for edge_type in (WRITES, CITES, WRITTEN_BY):
            edges, store = edge_set(graph, edge_type), batch[edge_type]
            src, dst = batch[edge_type[0]].n_id[store.edge_index[0]], batch[edge_type[2]].n_id[store.edge_index[1]]
            assert [edges[i] for i in store.e_id.tolist()] == list(zip(src.tolist(), dst.tolist(), strict=True))


def test_disjoint_trees_are_told_by_batch() -> None:
    graph = random_graph(4)
    sampler = CoreSampler(newcomers(graph, disjoint=True))
    features = StoredFeatures({"x": numbered(200)})

    [batch] = NeighborLoader(
        (features, StoredGraph(graph)), [], torch.tensor([7, 3, 7]), neighbor_sampler=sampler, batch_size=3
    )

    assert batch.n_id[:3].tolist() == [7, 3, 7]
    assert batch.batch[:3].tolist() == [0, 1, 2]
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("amount", [1, 2])
def test_link_neighbor_loader_draws_negatives(disjoint: bool, amount: int) -> None:
    graph = random_graph(5)
    links = torch.tensor([[1, 2, 3, 1], [4, 5, 6, 7]])
    features = StoredFeatures({"x": numbered(200)})

    loader = LinkNeighborLoader(
        (features, StoredGraph(graph)),
        [],
        edge_label_index=(None, links),
        neighbor_sampler=CoreSampler(newcomers(graph, disjoint=disjoint)),
        neg_sampling=NegativeSampling("binary", amount),
        batch_size=4,
    )

    [batch] = list(loader)
    ends = batch.n_id[batch.edge_label_index]
    assert torch.equal(ends[:, :4], links)
    assert batch.edge_label.tolist() == [1.0] * 4 + [0.0] * 4 * amount
    assert torch.equal(batch.x, numbered(200)[batch.n_id])
    if disjoint:
        assert torch.equal(batch.batch[batch.edge_label_index[0]], torch.arange(4).repeat(1 + amount))
        assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])


@pytest.mark.parametrize("disjoint", [False, True])
def test_triplets_share_their_source(disjoint: bool) -> None:
    graph = papers(1)
    links = torch.tensor([[1, 2, 3], [40, 50, 60]])
    features = StoredFeatures({("paper", "x"): numbered(100), ("author", "x"): numbered(40)})

    [batch] = LinkNeighborLoader(
        (features, StoredGraph(graph)),
        [],
        edge_label_index=(WRITES, links),
        neighbor_sampler=CoreSampler(newcomers(graph, disjoint=disjoint)),
        neg_sampling=NegativeSampling("triplet", 2),
        batch_size=3,
    )

    assert batch["author"].n_id[batch["author"].src_index].tolist() == [1, 2, 3]
    assert batch["paper"].n_id[batch["paper"].dst_pos_index].tolist() == [40, 50, 60]
    assert batch["paper"].dst_neg_index.shape == (3, 2)
    if disjoint:
        trees = batch["paper"].batch[batch["paper"].dst_neg_index]
        assert trees.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_times_of_seeds_hold_for_their_trees() -> None:
    indices = np.array([1, 2, 3, 0, 0, 0])
    graph = ArrayGraph.homogeneous([0, 3, 4, 5, 6], indices, times=np.array([10, 20, 30, 5, 25, 35]))
    sampler = CoreSampler(newcomers(graph, [-1, -1], temporal="uniform"))
    features = StoredFeatures({"x": numbered(4)})

    [batch] = NeighborLoader(
        (features, StoredGraph(graph)),
        [],
        torch.tensor([0, 0]),
        input_time=torch.tensor([20, 30]),
        time_attr="time",
        neighbor_sampler=sampler,
        batch_size=2,
    )

    first = batch.e_id[batch.batch[batch.edge_index[1]] == 0]
    second = batch.e_id[batch.batch[batch.edge_index[1]] == 1]
    assert sorted(first.tolist()) == [0, 1, 3]
    assert sorted(second.tolist()) == [0, 1, 2, 3, 4]
    assert batch.seed_time.tolist() == [20, 30]


def test_a_sampler_that_expands_nodes_again_is_refused() -> None:
    with pytest.raises(InvalidArgument, match='make it with expand="newcomers"'):
        CoreSampler(NeighborSampler(random_graph(0), [2, 2]))


def test_a_graph_store_gives_the_graph_by_destination_and_as_pairs() -> None:
    graph = random_graph(6)
    store = StoredGraph(graph)
    arrays = graph.csc(NODE_TO_NODE)

    row, colptr, perm = store.csc()
    coo_row, coo_col, _ = store.coo()

    assert (row.tolist(), colptr.tolist(), perm) == (arrays.indices.tolist(), arrays.indptr.tolist(), None)
    pairs = sorted(zip(coo_row.tolist(), coo_col.tolist(), strict=True))
    assert pairs == sorted(edge_set(graph, NODE_TO_NODE).values())
    with pytest.raises(InvalidArgument, match="stored graphs do not change"):
        store.put_edge_index((row, row), edge_type=None, layout="coo")


def test_a_feature_store_reads_by_any_index() -> None:
    store = StoredFeatures({("paper", "x"): numbered(10), ("paper", "y"): np.arange(10)})

    assert torch.equal(store["paper", "x", None], numbered(10))
    assert torch.equal(store["paper", "x", torch.tensor([3, 1, 3])], numbered(10)[[3, 1, 3]])
    assert torch.equal(store["paper"].x[:], numbered(10))
    assert torch.equal(store["paper", "x", slice(2, 8, 3)], numbered(10)[2:8:3])
    assert torch.equal(store["paper", "x", torch.tensor([4, 0], dtype=torch.int32)], numbered(10)[[4, 0]])
    assert torch.equal(store["paper", "y", 7], torch.tensor(7))
    assert torch.equal(store["paper", "x", torch.arange(10) % 2 == 0], numbered(10)[::2])
    assert store["paper", "x", torch.tensor([], dtype=torch.int64)].shape == (0, 3)
    assert store.get_tensor_size(TensorAttr("paper", "x")) == (10, 3)
    with pytest.raises(KeyError, match="no table"):
        store["paper", "z", None]
    with pytest.raises(InvalidArgument, match="expected 0 to 9"):
        store["paper", "x", torch.tensor([-1])]


def test_a_feature_store_gives_new_attributes_each_time() -> None:
    store = StoredFeatures({"x": numbered(10)})

    for attr in store.get_all_tensor_attrs():
        attr.index = torch.tensor([1])

    assert [attr.is_set("index") for attr in store.get_all_tensor_attrs()] == [False]


def test_a_pyg_model_learns_from_stored_features_by_a_neighbor_loader(tmp_path: Path) -> None:
    torch.manual_seed(0)
    with stored_communities(tmp_path) as (graph, table, labels):
        assert held_out_accuracy(graph, StoredFeatures({"x": table, "y": labels})) > 0.9


def held_out_accuracy(graph: Graph, features: StoredFeatures) -> float:
    """Train two layers of PyG's own on nodes 0 to 399; return the share of the other 200 that they name."""
    sampler = CoreSampler(NeighborSampler(graph, [4, 4], expand="newcomers"))

    def loader(seeds: torch.Tensor) -> NeighborLoader:
        stores = features, StoredGraph(graph)
        return NeighborLoader(stores, [], seeds, neighbor_sampler=sampler, batch_size=64, shuffle=True)

    first, second = SAGEConv(4, 16), SAGEConv(16, 2)
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01)

    def scores(batch: Data) -> torch.Tensor:
        hidden = first(batch.x, batch.edge_index).relu()
        return second(hidden, batch.edge_index)[: batch.batch_size]

    for _ in range(6):
        for batch in loader(torch.arange(400)):
            loss = torch.nn.functional.cross_entropy(scores(batch), batch.y[: batch.batch_size])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    right = sum(int((scores(b).argmax(1) == b.y[: b.batch_size]).sum()) for b in loader(torch.arange(400, 600)))
    return right / 200
