"""The plainest loader gives the sampler's minibatches with the rows of their nodes."""

from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.adapters.graphs import papers, random_graph

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import AnyArray, NodeSeeds

BATCHES = SeedBatches(NodeSeeds(np.arange(0, 200, 3)), 16, seed=4)


class Table:
    def __init__(self, rows: AnyArray) -> None:
        self.rows = rows

    def fetch(self, ids: Any) -> AnyArray:
        return self.rows[ids]


def loader() -> FetchLoader:
    rows = np.arange(400).reshape(200, 2)
    return FetchLoader(
        NeighborSampler(random_graph(0), [3, 2], seed=4), BATCHES, {"array": rows, "table": Table(rows + 1)}
    )


def test_minibatches_are_the_samplers_with_rows() -> None:
    sampler = NeighborSampler(random_graph(0), [3, 2], seed=4)

    for minibatch, drawn in zip(loader(), sampler.sample_many(BATCHES), strict=True):
        ids = drawn.nodes["node"]
        assert minibatch.nodes["node"].tolist() == ids.tolist()
        assert minibatch.features["array"][:, 0].tolist() == (2 * ids.astype(int)).tolist()
        assert minibatch.features["table"][:, 1].tolist() == (2 * ids.astype(int) + 2).tolist()


def test_a_pass_is_an_epoch_and_an_early_end_is_taken_up() -> None:
    one = loader()

    first = [minibatch.batch for minibatch in one]
    iterator = iter(one)
    begun = [(m.epoch, m.batch) for m in (next(iterator), next(iterator))]
    rest = [(m.epoch, m.batch) for m in one]

    assert first == list(range(len(one)))
    assert begun + rest == [(1, batch) for batch in range(len(one))]
    assert one.position == 2 * len(one)


def test_a_state_goes_to_another_loader() -> None:
    one, other = loader(), loader()
    iterator = iter(one)
    next(iterator)

    other.load_state_dict(one.state_dict())

    assert [m.nodes["node"].tolist() for m in other] == [m.nodes["node"].tolist() for m in iterator]
    with pytest.raises(InvalidArgument, match="expected a position of at least 0"):
        other.load_state_dict({"position": -1})


def test_without_seeds_there_are_no_minibatches() -> None:
    sampler = NeighborSampler(random_graph(0), [2])

    assert list(FetchLoader(sampler, SeedBatches(NodeSeeds(np.arange(0)), 4), {})) == []


def test_tables_belong_to_the_type_of_their_name() -> None:
    sampler = NeighborSampler(papers(0), [2])
    batches = SeedBatches(NodeSeeds(np.arange(100), "paper"), 50)

    [minibatch, _] = FetchLoader(
        sampler, batches, {"paper": np.arange(100), "x": np.arange(40)}, node_types={"x": "author"}
    )

    assert minibatch.features["paper"].tolist() == minibatch.nodes["paper"].tolist()
    assert minibatch.features["x"].tolist() == minibatch.nodes["author"].tolist()
    with pytest.raises(InvalidArgument, match=r"table 'x': expected a node type among \['author', 'paper'\]"):
        FetchLoader(sampler, batches, {"x": np.arange(100)})
