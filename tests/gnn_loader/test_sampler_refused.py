"""Options, seeds and arrays that are wrong are refused, by name."""

from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.sampler_oracle import CITES, WRITES, paper_graph, random_csc
from tests.gnn_loader.test_sampler import chain_graph

from outcrop.errors import CorruptFile, InvalidArgument
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NodeSeeds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fanouts": [-2]}, "expected -1 \\(all\\) or a count, found -2"),
        ({"fanouts": [{("a", "b", "c"): 1}]}, "expected edge types among"),
        ({"fanouts": {CITES: [1, 2], WRITES: [1]}}, "as many hops"),
        ({"fanouts": [2], "labor": "often"}, "labor: expected one of \\['off', 'per_hop', 'shared'\\], found 'often'"),
        ({"fanouts": [2], "labor": "shared", "replace": True}, "replace must be off"),
        ({"fanouts": [2], "temporal": "last"}, "has times"),
        ({"fanouts": [2], "seed": -1}, "seed: expected one of"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        NeighborSampler(paper_graph(seed=1), **options)


def test_weighted_sampling_wants_weights() -> None:
    with pytest.raises(InvalidArgument, match="no edge type of the graph has weights"):
        NeighborSampler(chain_graph(), [2], weighted=True)


@pytest.mark.parametrize("ids", [[5], [-1], [2**32 + 1], [0.5], [[1, 2]]], ids=str)
def test_seeds_that_the_graph_lacks_are_refused(ids: list[Any]) -> None:
    with pytest.raises(InvalidArgument, match="seeds"):
        NeighborSampler(chain_graph(), [2]).sample(ids)


def test_seeds_of_several_types_must_name_theirs() -> None:
    with pytest.raises(InvalidArgument, match="pass NodeSeeds"):
        NeighborSampler(paper_graph(seed=1), [2]).sample([1])
    with pytest.raises(InvalidArgument, match="expected a node type among"):
        NeighborSampler(paper_graph(seed=1), [2]).sample(NodeSeeds([1], "venue"))


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([0, 2, 1], [0, 1], "column 1: expected 0 <= begin <= end <= 2, found 2 and 1"),
        ([0, 1, 9], [0, 1], "found 1 and 9"),
        ([-1, 1, 2], [0, 1], "found -1 and 1"),
        ([0, 1, 2], [0, 2], "place 1: expected a source below 2, found 2"),
    ],
)
@pytest.mark.parametrize("labor", ["off", "shared"])
def test_arrays_that_contradict_themselves_are_corrupt(
    indptr: list[int], indices: list[int], message: str, labor: Any
) -> None:
    graph = ArrayGraph.homogeneous(np.array(indptr), np.array(indices, np.uint32))

    with pytest.raises(CorruptFile, match=f"edges node-to-node: .*{message}"):
        NeighborSampler(graph, [1], labor=labor).sample([0, 1])


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf])
@pytest.mark.parametrize("replace", [False, True])
def test_weights_that_are_none_are_corrupt(weight: float, replace: bool) -> None:
    graph = ArrayGraph.homogeneous(np.array([0, 3, 3]), np.array([0, 1, 1]), np.array([1, weight, 1], np.float32))

    with pytest.raises(CorruptFile, match="weight at 1: expected a finite one, not below 0"):
        NeighborSampler(graph, [2], weighted=True, replace=replace).sample([0])


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected 4 values, one more than node nodes"):
        ArrayGraph.of({"node": 3}, {("node", "to", "node"): random_csc(4, 4, 0)})
    with pytest.raises(InvalidArgument, match="found some of \\[0, 7\\]"):
        ArrayGraph.homogeneous(np.array([0, 2]), np.array([0, 7]))
    with pytest.raises(InvalidArgument, match="weights: expected 2 values, found 1"):
        NeighborSampler(ArrayGraph.homogeneous(np.array([0, 2]), np.array([0, 0]), [1.0]), [1])


@pytest.mark.parametrize("wrong", [{"epoch": -1}, {"first_batch": -1}, {"threads": 0}, {"count": -1}], ids=str)
def test_numbers_below_their_least_are_refused(wrong: dict[str, int]) -> None:
    sampler = NeighborSampler(chain_graph(), [1])

    with pytest.raises(InvalidArgument, match=f"{next(iter(wrong))}: expected one of"):
        list(sampler.sample_many(SeedBatches(NodeSeeds([0, 1])), **wrong))
