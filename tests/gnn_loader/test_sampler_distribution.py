"""Draws have exactly the probabilities that their rule says: enumerated, and compared by chi-square.

Every node of `columns_alike` has the same in-edges, from sources 0 to degree - 1. So one minibatch of all nodes is as
many draws of one column.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations, pairwise, permutations, product
from math import comb
from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.chi_square import critical_value, fits

from outcrop import native
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import CscArrays, EdgeSeeds, EdgeType, NodeSeeds, SampledLayer

IN: EdgeType = ("source", "to", "node")
DRAWS = 40_000
WEIGHTS = [1.0, 2.0, 0.0, 3.0, 4.0]

Probabilities = dict[Hashable, float]


def columns_alike(degree: int, weights: Sequence[float] | None = None, nodes: int = DRAWS) -> ArrayGraph:
    arrays = CscArrays(
        np.arange(nodes + 1) * degree,
        np.tile(np.arange(degree), nodes),
        None if weights is None else np.tile(np.asarray(weights, np.float32), nodes),
    )
    return ArrayGraph.of({"source": degree, "node": nodes}, {IN: arrays})


def draws_of(graph: ArrayGraph, fanout: int, *, seed: int = 0, batch: int = 0, **options: Any) -> list[tuple[int, ...]]:
    """The sources drawn for each node, ascending."""
    sampler = NeighborSampler(graph, [fanout], seed=seed, keep_edges=True, **options)
    minibatch = sampler.sample(NodeSeeds(np.arange(graph.node_types["node"]), "node"), batch=batch)
    return columns(minibatch.layers[0], graph.csc(IN))


def columns(layer: SampledLayer, csc: CscArrays) -> list[tuple[int, ...]]:
    assert layer.edges is not None
    sources = csc.indices[layer.edges.astype(np.int64)].tolist()
    ends = layer.indptr.tolist()
    return [tuple(sorted(sources[begin:end])) for begin, end in pairwise(ends)]


def equal_subsets(n: int, k: int) -> Probabilities:
    return dict.fromkeys(combinations(range(n), k), 1 / comb(n, k))


def independent(weights: Sequence[float], k: int) -> Probabilities:
    """k draws with repetitions, by weight, in any order."""
    total: Counter[Hashable] = Counter()
    for outcome in product(range(len(weights)), repeat=k):
        total[tuple(sorted(outcome))] += np.prod([weights[i] / sum(weights) for i in outcome])
    return {cell: p for cell, p in total.items() if p > 0}


def successive(weights: Sequence[float], k: int) -> Probabilities:
    """k draws by weight, each among those that are left, in any order."""
    total: Counter[Hashable] = Counter()
    for outcome in permutations([i for i, w in enumerate(weights) if w > 0], k):
        left, p = sum(weights), 1.0
        for i in outcome:
            p *= weights[i] / left
            left -= weights[i]
        total[tuple(sorted(outcome))] += p
    return dict(total)


def test_the_test_itself_tells_a_biased_draw() -> None:
    rng = np.random.default_rng(1)
    fair, biased = rng.random(DRAWS) < 0.5, rng.random(DRAWS) < 0.515

    assert fits(fair.tolist(), {True: 0.5, False: 0.5})
    assert not fits(biased.tolist(), {True: 0.5, False: 0.5})
    assert not fits([3], {1: 0.5, 2: 0.5})
    assert 23.93 <= critical_value(1) < 28  # 23.93 and 65.42 by tables
    assert 65.42 <= critical_value(20) < 67


@pytest.mark.parametrize(("degree", "fanout"), [(6, 3), (2, 1), (9, 8), (64, 2), (65, 1), (90, 2)])
def test_every_subset_is_equally_likely(degree: int, fanout: int) -> None:
    assert fits(draws_of(columns_alike(degree), fanout), equal_subsets(degree, fanout))


@pytest.mark.parametrize(("degree", "fanout"), [(4, 3), (1, 2), (70, 1)])
def test_with_replacement_draws_are_independent(degree: int, fanout: int) -> None:
    drawn = draws_of(columns_alike(degree), fanout, replace=True)

    assert fits(drawn, independent([1.0] * degree, fanout))


@pytest.mark.parametrize("fanout", [1, 2, 3])
def test_weighted_draws_are_successive(fanout: int) -> None:
    drawn = draws_of(columns_alike(5, WEIGHTS), fanout, weighted=True)

    assert fits(drawn, successive(WEIGHTS, fanout))
    assert not fits(drawn, equal_subsets(5, fanout))


@pytest.mark.parametrize("fanout", [1, 3])
def test_weighted_draws_with_replacement_go_by_weight(fanout: int) -> None:
    drawn = draws_of(columns_alike(5, WEIGHTS), fanout, weighted=True, replace=True)

    assert fits(drawn, independent(WEIGHTS, fanout))


@pytest.mark.parametrize("options", [{}, {"replace": True}, {"labor": "shared"}], ids=str)
@pytest.mark.parametrize("fanout", [2, 7, -1])
def test_weight_zero_is_never_drawn(options: dict[str, Any], fanout: int) -> None:
    drawn = draws_of(columns_alike(5, WEIGHTS, nodes=2000), fanout, weighted=True, **options)
    nothing = draws_of(columns_alike(3, [0.0] * 3, nodes=10), fanout, weighted=True, **options)

    assert all(2 not in sources for sources in drawn)
    assert nothing == [()] * 10


def one_column(graph: ArrayGraph, fanout: int, batches: int = 20_000, **options: Any) -> list[tuple[int, ...]]:
    """What node 0 draws in many minibatches."""
    sampler = NeighborSampler(graph, [fanout], keep_edges=True, **options)
    seed = NodeSeeds([0], "node")
    drawn = sampler.draw(seed, [np.zeros(1, np.uint32)] * batches, epoch=0, first_batch=0)
    return [columns(sampler.minibatch(minibatch).layers[0], graph.csc(IN))[0] for minibatch in drawn]


@pytest.mark.parametrize("labor", ["per_hop", "shared"])
def test_labor_draws_every_subset_equally_often(labor: str) -> None:
    assert fits(one_column(columns_alike(6, nodes=1), 3, labor=labor), equal_subsets(6, 3))


def test_weighted_labor_draws_as_often_as_weighted_sampling() -> None:
    drawn = one_column(columns_alike(5, WEIGHTS, nodes=1), 2, labor="shared", weighted=True)

    assert fits(drawn, successive(WEIGHTS, 2))


def test_labor_gives_columns_alike_the_same_sources() -> None:
    assert len(set(draws_of(columns_alike(30), 5, labor="per_hop"))) == 1
    assert len(set(draws_of(columns_alike(30), 5))) > 1000


def test_labor_wants_fewer_nodes() -> None:
    rng = np.random.default_rng(3)
    graph = ArrayGraph.homogeneous(np.arange(2001) * 30, rng.integers(0, 2000, 60_000))

    def wanted(labor: Any) -> int:
        return len(NeighborSampler(graph, [5, 5], labor=labor).sample(np.arange(50)).nodes["node"])

    assert wanted("shared") < wanted("per_hop") < wanted("off")


def loop_graph(degree: int, nodes: int) -> ArrayGraph:
    """Every node has the in-edges 0 to degree - 1, so that the first nodes draw again in each hop."""
    return ArrayGraph.homogeneous(np.arange(nodes + 1) * degree, np.tile(np.arange(degree), nodes))


@pytest.mark.parametrize(("labor", "agree"), [("shared", True), ("per_hop", False), ("off", False)])
def test_only_shared_labor_numbers_hold_for_all_hops(labor: Any, agree: bool) -> None:
    sampler = NeighborSampler(loop_graph(40, 500), [5, 5], labor=labor, keep_edges=True)

    minibatch = sampler.sample(np.arange(500))

    first, second = (columns(layer, sampler.graph.csc(layer.edge_type)) for layer in minibatch.layers)
    assert (first == second[:500]) == agree


def pairs_of(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[Hashable, Hashable]]:
    return list(zip(one, other, strict=True))


PAIRS: Probabilities = {
    (a, b): pa * pb for (a, pa), (b, pb) in product(equal_subsets(4, 1).items(), equal_subsets(4, 1).items())
}


@pytest.mark.parametrize("other", [{"batch": 1}, {"seed": 1}, {"batch": 7, "seed": 2}], ids=str)
def test_draws_of_the_same_node_are_independent(other: dict[str, int]) -> None:
    graph = columns_alike(4)

    assert fits(pairs_of(draws_of(graph, 1), draws_of(graph, 1, **other)), PAIRS)


def test_draws_of_neighbouring_nodes_and_hops_are_independent() -> None:
    graph = loop_graph(4, DRAWS)
    sampler = NeighborSampler(graph, [1, 1], keep_edges=True)

    layers = sampler.sample(np.arange(DRAWS)).layers

    first, second = (columns(layer, graph.csc(layer.edge_type)) for layer in layers)
    assert fits(pairs_of(first[::2], first[1::2]), PAIRS)
    assert fits(pairs_of(first, second), PAIRS)


def test_draws_of_the_same_node_in_disjoint_trees_are_independent() -> None:
    graph = columns_alike(4, nodes=1)
    sampler = NeighborSampler(graph, [1], disjoint=True, keep_edges=True)

    minibatch = sampler.sample(NodeSeeds(np.zeros(DRAWS, np.int64), "node"))

    drawn = columns(minibatch.layers[0], graph.csc(IN))
    assert fits(drawn, equal_subsets(4, 1))
    assert fits(pairs_of(drawn[::2], drawn[1::2]), PAIRS)


def test_edge_types_draw_independently() -> None:
    indptr, indices = np.arange(DRAWS + 1) * 4, np.tile(np.arange(4), DRAWS)
    other: EdgeType = ("source", "also_to", "node")
    graph = ArrayGraph.of(
        {"source": 4, "node": DRAWS}, {IN: CscArrays(indptr, indices), other: CscArrays(indptr, indices)}
    )
    sampler = NeighborSampler(graph, [1], keep_edges=True)

    layers = sampler.sample(NodeSeeds(np.arange(DRAWS), "node")).layers

    one, two = (columns(layer, graph.csc(layer.edge_type)) for layer in layers)
    assert fits(pairs_of(one, two), PAIRS)


def test_negatives_are_uniform() -> None:
    graph = columns_alike(3, nodes=7)
    pairs = np.zeros((5000, 2), np.int64)

    minibatch = NeighborSampler(graph, [0]).sample(EdgeSeeds(pairs, IN, negatives=4))

    drawn = minibatch.seeds[5000:, 1].tolist()
    assert fits(drawn, dict.fromkeys(range(7), 1 / 7))
    assert fits(pairs_of(drawn[::2], drawn[1::2]), dict.fromkeys(product(range(7), repeat=2), 1 / 49))


def test_every_order_of_seeds_is_equally_likely() -> None:
    orders = [tuple(native.seed_order(4, 5, epoch).tolist()) for epoch in range(5000)]

    assert fits(orders, dict.fromkeys(permutations(range(4)), 1 / 24))
