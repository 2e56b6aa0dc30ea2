"""DGL's sampler and ours draw minibatches of the same shape: the same edges where all are drawn, else as many."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from outcrop.gnn_loader import ArrayGraph, Minibatch, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.types import NODE

if sys.version_info >= (3, 12):
    pytest.skip("DGL's wheels end with Python 3.11", allow_module_level=True)

import dgl

NUM_NODES = 3000


@pytest.fixture(scope="module")
def arrays() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    degrees = np.minimum(rng.pareto(1.5, NUM_NODES) * 6, 400).astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(degrees)])
    return indptr, (NUM_NODES * rng.random(indptr[-1]) ** 2).astype(np.int64)


def dgl_graph(arrays: tuple[Any, Any]) -> Any:
    indptr, indices = (torch.from_numpy(array) for array in arrays)
    return dgl.graph(("csc", (indptr, indices, torch.empty(0, dtype=torch.int64))), num_nodes=NUM_NODES)


def edges_by_id(minibatch: Minibatch, hop: int) -> list[tuple[int, int]]:
    layer = minibatch.layers[hop]
    nodes = minibatch.nodes[NODE].astype(np.int64)
    destinations = np.repeat(np.arange(layer.dst_begin, layer.dst_end), np.diff(layer.indptr.astype(np.int64)))
    return sorted(zip(nodes[layer.indices].tolist(), nodes[destinations].tolist(), strict=True))


def edges_of_block(block: Any) -> list[tuple[int, int]]:
    sources, destinations = block.edges()
    return sorted(
        zip(block.srcdata[dgl.NID][sources].tolist(), block.dstdata[dgl.NID][destinations].tolist(), strict=True)
    )


def test_whole_neighbourhoods_have_the_same_edges_in_every_hop(arrays: tuple[Any, Any]) -> None:
    seeds = np.arange(0, NUM_NODES, 150)
    sampler = NeighborSampler(ArrayGraph.homogeneous(*arrays), [-1, -1])

    minibatch = sampler.sample(seeds)
    inputs, _, blocks = dgl.dataloading.NeighborSampler([-1, -1]).sample(dgl_graph(arrays), torch.from_numpy(seeds))

    assert sorted(minibatch.nodes[NODE].tolist()) == sorted(inputs.tolist())
    for hop, block in enumerate(reversed(blocks)):
        assert edges_by_id(minibatch, hop) == edges_of_block(block)


@pytest.mark.parametrize("replace", [False, True])
def test_fan_outs_draw_as_many_edges_and_find_as_many_nodes(arrays: tuple[Any, Any], replace: bool) -> None:
    sampler = NeighborSampler(ArrayGraph.homogeneous(*arrays), [5, 5], replace=replace)
    theirs = dgl.dataloading.NeighborSampler([5, 5], replace=replace)
    batches = SeedBatches(NodeSeeds(np.arange(NUM_NODES)), batch_size=100)
    graph = dgl_graph(arrays)
    dgl.seed(1)

    ours = list(sampler.sample_many(batches))
    drawn = [theirs.sample(graph, torch.from_numpy(minibatch.seeds)) for minibatch in ours]

    first = [
        (minibatch.layers[0].num_edges, int(blocks[-1].num_edges()))
        for minibatch, (_, _, blocks) in zip(ours, drawn, strict=True)
    ]
    assert all(one == other for one, other in first)
    assert sum(m.num_edges for m in ours) == pytest.approx(
        sum(int(b.num_edges()) for _, _, bs in drawn for b in bs), rel=0.02
    )
    assert sum(len(m.nodes[NODE]) for m in ours) == pytest.approx(sum(len(inputs) for inputs, _, _ in drawn), rel=0.02)
