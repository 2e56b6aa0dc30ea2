"""The small GraphSAGE computes what its formula says, and learns."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import communities as graph_of_communities
from tests.gnn_loader.adapters.graphs import papers
from tests.gnn_loader.adapters.minibatches import layer
from tests.gnn_loader.adapters.numpy_sampler import NumpySampler

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorMinibatch
from outcrop.gnn_loader.adapters.train import (
    EpochReport,
    GraphSage,
    TrainOptions,
    evaluate,
    fit,
    mean_of_neighbours,
    train_epoch,
)
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import AnyArray, EdgeSeeds, Int64Array, NodeSeeds


def test_a_mean_is_over_the_sources_of_a_column() -> None:
    x = torch.tensor([[1.0], [2.0], [4.0]])

    means = mean_of_neighbours(x, layer(0, 0, [[1, 2], [], [0, 0, 2]]))

    assert means.tolist() == [[3.0], [0.0], [2.0]]


def test_means_without_any_edge_are_zeros() -> None:
    assert mean_of_neighbours(torch.ones(2, 3), layer(0, 0, [[], []])).tolist() == [[0.0] * 3] * 2
    assert mean_of_neighbours(torch.ones(0, 3), layer(0, 0, [])).shape == (0, 3)


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_on_full_neighbourhoods_are_those_of_the_whole_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    indptr, indices = random_graph(rng, num_nodes=40, degree=4)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    torch.manual_seed(seed)
    model = GraphSage(6, 5, 3, num_layers=2).eval()
    minibatch = NumpySampler(indptr, indices, x, [-1, -1]).sample(np.array([7, 3, 22]), rng)

    scores = model(minibatch.features["x"], minibatch)

    assert torch.allclose(scores, whole_graph_scores(model, indptr, indices, x)[[7, 3, 22]], atol=1e-5)


def whole_graph_scores(
    model: GraphSage, indptr: Int64Array, indices: Int64Array, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> torch.Tensor:
    mean = np.zeros((len(x), len(x)), np.float32)
    for v in range(len(x)):
        np.add.at(mean[v], indices[indptr[v] : indptr[v + 1]], 1 / max(1, indptr[v + 1] - indptr[v]))
    h, means = torch.from_numpy(x), torch.from_numpy(mean)
    for depth, (own, neighbours) in enumerate(zip(model.own, model.neighbours, strict=True)):
        h = own(h) + neighbours(means @ h)
        h = torch.relu(h) if depth == 0 else h
    return h


def random_graph(rng: np.random.Generator, num_nodes: int, degree: int) -> tuple[Int64Array, Int64Array]:
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 2 * degree, num_nodes))])
    return indptr, rng.integers(0, num_nodes, indptr[-1])


def communities(rng: np.random.Generator, num_nodes: int) -> tuple[NumpySampler, torch.Tensor]:
    """Two communities that neighbours tell apart much better than a node's own features."""
    labels = rng.integers(0, 2, num_nodes)
    groups = [np.flatnonzero(labels == c) for c in (0, 1)]
    indices = np.concatenate([rng.choice(groups[c], 8) for c in labels])
    x = labels[:, None] * 0.5 + rng.normal(size=(num_nodes, 4))
    sampler = NumpySampler(np.arange(0, 8 * num_nodes + 1, 8), indices, x.astype(np.float32), [4, 4])
    return sampler, torch.from_numpy(labels)


def test_training_learns_communities() -> None:
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    sampler, labels = communities(rng, 1000)
    model = GraphSage(4, 16, 2, num_layers=2, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train, test = np.arange(600), np.arange(600, 1000)

    reports = [train_epoch(model, optimizer, sampler.epoch(train, 64, rng), labels, epoch=e) for e in range(5)]

    assert evaluate(model, sampler.epoch(test, 64, rng), labels) > 0.95
    assert reports[-1].loss < reports[0].loss
    assert [report.epoch for report in reports] == [0, 1, 2, 3, 4]
    assert all(report.num_batches == 10 and 0 < report.load_seconds < report.seconds for report in reports)


def test_fit_repeats_itself_and_reports_each_epoch() -> None:
    graph, x, labels = graph_of_communities(0, 500)
    options = TrainOptions(epochs=3, hidden_dim=16, dropout=0.0, learning_rate=0.03, seed=7)

    def run() -> tuple[list[EpochReport], float]:
        seen: list[EpochReport] = []
        sampler = NeighborSampler(graph, [4, 4], expand="newcomers")
        loader = FetchLoader(sampler, SeedBatches(NodeSeeds(np.arange(300)), 50), {"x": x})
        others = SeedBatches(NodeSeeds(np.arange(300, 500)), 50)
        model, reports = fit(
            loader,
            torch.from_numpy(labels),
            options,
            in_dim=4,
            num_layers=2,
            validate=lambda model: evaluate(model, FetchLoader(sampler, others, {"x": x}), torch.from_numpy(labels)),
            on_epoch=seen.append,
        )
        assert seen == reports
        return reports, float(model.own[0].weight.detach().sum())

    reports, weights = run()
    again, same_weights = run()

    assert [report.epoch for report in reports] == [0, 1, 2]
    assert reports[-1].val_accuracy is not None
    assert reports[-1].val_accuracy > 0.9
    assert [report.loss for report in again] == [report.loss for report in reports]
    assert same_weights == weights


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"hidden_dim": 0}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"device": "abacus"}]
)
def test_options_that_cannot_train_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"training: (expected|device)"):
        TrainOptions(**wrong)


def test_an_epoch_without_minibatches_reports_zeros() -> None:
    model = GraphSage(4, 8, 2, num_layers=1)

    report = train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), [], torch.zeros(3, dtype=torch.int64))

    assert (report.num_batches, report.loss, report.accuracy) == (0, 0.0, 0.0)
    assert evaluate(model, [], torch.zeros(3)) == 0.0


def test_a_minibatch_of_other_depth_is_refused() -> None:
    rng = np.random.default_rng(0)
    sampler, labels = communities(rng, 50)

    with pytest.raises(InvalidArgument, match="expected a minibatch of 3 hops, found 2"):
        evaluate(GraphSage(4, 8, 2, num_layers=3), sampler.epoch(np.arange(10), 5, rng), labels)


def test_what_a_small_model_cannot_learn_from_is_refused() -> None:
    graph, x, labels = graph_of_communities(0, 50)
    model, sampler = GraphSage(4, 8, 2, num_layers=1), NeighborSampler(graph, [2])
    nodes, links = SeedBatches(NodeSeeds(np.arange(9)), 9), SeedBatches(EdgeSeeds(np.array([[1, 2]])), 1)

    with pytest.raises(InvalidArgument, match="or links"):
        evaluate(model, FetchLoader(sampler, links, {"x": x}), labels)
    with pytest.raises(InvalidArgument, match="one table of features"):
        evaluate(model, FetchLoader(sampler, nodes, {"x": x, "z": x}), labels)
    with pytest.raises(InvalidArgument, match='codec="bfloat16"'):
        evaluate(model, FetchLoader(sampler, nodes, {"x": x.view(np.uint16)}), labels)
    typed = SeedBatches(NodeSeeds(np.arange(9), "paper"), 9)
    with pytest.raises(InvalidArgument, match="nodes of one type"):
        evaluate(model, FetchLoader(NeighborSampler(papers(0), [2]), typed, {"paper": np.zeros((100, 4))}), labels)


def test_a_minibatch_is_let_go_before_the_next_is_asked_for() -> None:
    """Loaders recycle buffers, so a trainer that held two would need twice as many."""
    rng = np.random.default_rng(0)
    sampler, labels = communities(rng, 100)
    model = GraphSage(4, 8, 2, num_layers=2)
    rows: list[weakref.ref[AnyArray]] = []

    def minibatches() -> Iterator[TensorMinibatch]:
        for _ in range(4):
            assert all(reference() is None for reference in rows)
            yield recycled(sampler.sample(np.arange(10), rng))

    def recycled(one: TensorMinibatch) -> TensorMinibatch:
        x = one.features["x"].numpy().copy()
        rows.append(weakref.ref(x))
        return replace(one, features={"x": torch.from_numpy(x)})

    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), minibatches(), labels)

    assert len(rows) == 4
