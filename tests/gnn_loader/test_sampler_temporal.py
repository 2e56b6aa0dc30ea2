"""Temporal sampling never looks at what happened after the seed's time."""

from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.chi_square import fits
from tests.gnn_loader.sampler_oracle import CITES, WRITES, check_structure, paper_graph

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import CscArrays, EdgeSeeds, EdgeType, Minibatch, NodeSeeds

IN: EdgeType = ("source", "to", "node")


def star(times: list[int], nodes: int = 1, source_times: list[int] | None = None) -> ArrayGraph:
    """Nodes with the same in-edges, from sources 0, 1, 2, ... at these times."""
    degree = len(times)
    arrays = CscArrays(
        np.arange(nodes + 1) * degree, np.tile(np.arange(degree), nodes), None, np.tile(np.array(times), nodes)
    )
    node_times = None if source_times is None else {"source": np.array(source_times)}
    return ArrayGraph.of({"source": degree, "node": nodes}, {IN: arrays}, node_times)


def sources(minibatch: Minibatch) -> list[list[int]]:
    layer = minibatch.layers[0]
    ids = minibatch.nodes["source"][layer.indices].tolist()
    return [ids[b:e] for b, e in zip(layer.indptr.tolist(), layer.indptr.tolist()[1:], strict=False)]


@pytest.mark.parametrize("times", [[10, 20, 20, 30, 40], [40, 20, 30, 10, 20]], ids=["ascending", "in any order"])
@pytest.mark.parametrize("at", [5, 10, 19, 20, 35, 99])
def test_all_edges_up_to_the_seeds_time_qualify(times: list[int], at: int) -> None:
    sampler = NeighborSampler(star(times), [-1], temporal="uniform")

    minibatch = sampler.sample(NodeSeeds([0], "node", times=np.array([at])))

    assert sources(minibatch) == [[i for i, time in enumerate(times) if time <= at]]


@pytest.mark.parametrize(
    ("times", "expected"),
    [([10, 20, 20, 30, 40], [1, 2]), ([40, 20, 30, 10, 20], [1, 4]), ([20, 20, 20, 20, 40], [2, 3])],
)
def test_last_takes_the_latest_and_of_ties_those_that_stand_last(times: list[int], expected: list[int]) -> None:
    sampler = NeighborSampler(star(times), [2], temporal="last")

    minibatch = sampler.sample(NodeSeeds([0], "node", times=np.array([25])))

    assert sources(minibatch) == [expected]


@pytest.mark.parametrize("times", [[1, 2, 3, 4, 9], [3, 9, 2, 1, 4]], ids=["ascending", "in any order"])
@pytest.mark.parametrize("options", [{}, {"replace": True}], ids=str)
def test_edges_that_qualify_are_drawn_uniformly(times: list[int], options: dict[str, Any]) -> None:
    sampler = NeighborSampler(star(times), [1], temporal="uniform", **options)

    minibatch = sampler.sample(NodeSeeds(np.zeros(20_000, np.int64), "node", times=np.full(20_000, 5)))

    drawn = [column[0] for column in sources(minibatch)]
    assert fits(drawn, {i: 1 / 4 for i, time in enumerate(times) if time <= 5})


def test_sources_count_from_their_own_time() -> None:
    graph = star([1, 1, 1, 9], source_times=[3, 8, 5, 0])
    everything = NeighborSampler(graph, [-1], temporal="uniform")
    last = NeighborSampler(graph, [1], temporal="last")
    seeds = NodeSeeds([0, 0], "node", times=np.array([4, 6]))

    assert sources(everything.sample(seeds)) == [[0], [0, 2]]
    assert sources(last.sample(seeds)) == [[0], [2]]


def test_times_beyond_the_precision_of_a_float_are_told_apart() -> None:
    late = 2**60
    sampler = NeighborSampler(star([late + 1, late, late + 2]), [1], temporal="last")

    minibatch = sampler.sample(NodeSeeds([0], "node", times=np.array([late + 1])))

    assert sources(minibatch) == [[0]]


@pytest.mark.parametrize("temporal", ["uniform", "last"])
@pytest.mark.parametrize("expand", ["all", "newcomers"])
def test_every_hop_keeps_to_the_time_of_its_tree(temporal: Any, expand: Any) -> None:
    graph = paper_graph(seed=3, times=True)
    sampler = NeighborSampler(graph, [3, 2, 2], temporal=temporal, expand=expand, keep_edges=True)
    rng = np.random.default_rng(4)
    seeds = NodeSeeds(rng.integers(0, 300, 200), "paper", times=rng.integers(0, 50, 200))

    minibatch = sampler.sample(seeds)

    check_structure(sampler, minibatch)
    assert minibatch.trees is not None
    assert seeds.times is not None
    assert minibatch.num_edges > 1000
    for layer in minibatch.layers:
        assert layer.edges is not None
        tree = minibatch.trees[layer.edge_type[0]][layer.indices]
        assert (graph.csc(layer.edge_type).times[layer.edges.astype(np.int64)] <= seeds.times[tree]).all()


def test_times_follow_shuffled_seeds() -> None:
    sampler = NeighborSampler(star([10, 20, 30]), [-1], temporal="uniform")
    batches = SeedBatches(NodeSeeds([0, 0, 0, 0], "node", times=np.array([5, 15, 25, 35])), batch_size=2, seed=1)

    degrees = [len(column) for minibatch in sampler.sample_many(batches) for column in sources(minibatch)]

    assert degrees == batches.order(0).tolist()


def test_both_ends_of_a_link_and_its_negatives_have_its_time() -> None:
    graph = paper_graph(seed=3, times=True)
    sampler = NeighborSampler(graph, [-1], temporal="uniform", keep_edges=True)
    times = np.array([0, 25, 49])

    minibatch = sampler.sample(EdgeSeeds([[1, 2], [3, 4], [5, 6]], WRITES, negatives=2, times=times))

    assert minibatch.trees is not None
    time_of_tree = np.repeat(np.concatenate([times, times.repeat(2)]), 2)
    for layer in minibatch.layers:
        assert layer.edges is not None
        first, last = layer.dst_begin, layer.dst_end
        for column, node in enumerate(minibatch.nodes[layer.edge_type[2]][first:last]):
            tree = minibatch.trees[layer.edge_type[2]][first + column]
            csc = graph.csc(layer.edge_type)
            qualifying = (csc.times[csc.indptr[node] : csc.indptr[node + 1]] <= time_of_tree[tree]).sum()
            assert layer.indptr[column + 1] - layer.indptr[column] == qualifying


@pytest.mark.parametrize(
    ("options", "times", "message"),
    [
        ({"temporal": "uniform"}, None, "one for each of 1 seeds, found 0"),
        ({}, [3], "only temporal sampling looks at them"),
    ],
)
def test_times_are_given_where_they_are_looked_at(options: dict[str, Any], times: Any, message: str) -> None:
    sampler = NeighborSampler(paper_graph(seed=3, times=True), {CITES: [1]}, **options)

    with pytest.raises(InvalidArgument, match=message):
        sampler.sample(NodeSeeds([0], "paper", times=times))


@pytest.mark.parametrize("option", [{"replace": True}, {"weighted": True}, {"labor": "shared"}], ids=str)
def test_last_has_nothing_to_draw(option: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="draws nothing at random"):
        NeighborSampler(paper_graph(seed=3, times=True), [1], temporal="last", **option)
