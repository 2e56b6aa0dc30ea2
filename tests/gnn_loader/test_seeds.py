"""Seeds are checked when they are given, and every epoch takes each of them once."""

from typing import Any

import numpy as np
import pytest

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import EdgeSeeds, NodeSeeds


def test_an_epoch_takes_every_seed_once() -> None:
    batches = SeedBatches(NodeSeeds(np.arange(1000)), batch_size=64, seed=3)

    epoch = list(batches.epoch(0))

    assert [len(some) for some in epoch] == [64] * 15 + [40]
    assert len(batches) == 16
    assert sorted(np.concatenate(epoch).tolist()) == list(range(1000))


def test_the_last_minibatch_may_be_dropped() -> None:
    seeds = NodeSeeds(np.arange(1000))

    assert [len(some) for some in SeedBatches(seeds, 64, drop_last=True).epoch(0)] == [64] * 15
    assert len(SeedBatches(seeds, 100, drop_last=True)) == len(SeedBatches(seeds, 100)) == 10
    assert len(SeedBatches(seeds, 1001, drop_last=True)) == 0
    assert len(SeedBatches(NodeSeeds([]))) == 0


def test_orders_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int, batch_size: int = 10) -> list[int]:
        return SeedBatches(NodeSeeds(np.arange(100)), batch_size, seed=seed).order(epoch).tolist()

    assert order(1, 2) == order(1, 2, batch_size=7)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_unshuffled_seeds_keep_their_order() -> None:
    assert SeedBatches(NodeSeeds([5, 6, 7]), shuffle=False).order(4).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.int64, np.uint64])
def test_ids_of_any_integer_type_are_taken(dtype: Any) -> None:
    seeds = NodeSeeds(np.array([3, 1, 3], dtype))

    assert seeds.ids.dtype == np.uint32
    assert seeds.ids.tolist() == [3, 1, 3]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([0, -1]), "position 1: expected ids of \\[0, 2\\^32 - 1\\), found -1"),
        (np.array([2**32 - 1]), "position 0"),
        (np.array([1.5]), "expected integers with 1 dimension\\(s\\), found float64"),
        (np.zeros((2, 2), int), "found int64 \\(2, 2\\)"),
    ],
)
def test_ids_that_would_wrap_around_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        NodeSeeds(ids)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EdgeSeeds(np.zeros((3, 3), int)), "expected \\[n, 2\\]"),
        (lambda: EdgeSeeds([[0, 1], [2, -3]]), "position 1"),
        (lambda: EdgeSeeds([[0, 1]], negatives=-1), "negatives: expected a count"),
        (lambda: EdgeSeeds([[0, 1]], times=[1, 2]), "expected 1 integers"),
        (lambda: NodeSeeds([0], times=[0.5]), "expected 1 integers"),
        (lambda: SeedBatches(NodeSeeds([0]), batch_size=0), "batch_size: expected at least 1"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()
