"""Fetching rows and drawing minibatches end when their time is over or their caller has gone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument
from outcrop.gnn_loader import ArrayGraph, FeatureTable, NeighborSampler, NodeSeeds, SeedBatches, features
from outcrop.stop import Stop

NUM_NODES = 3000


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(NUM_NODES, 24)).astype(np.float32)


@pytest.fixture
def table(tmp_path: Path, rows: np.ndarray) -> Iterator[FeatureTable]:
    with outcrop.connect(tmp_path / "root") as database:
        database.import_features("x", rows).wait()
        with database.features("x", memory="1MiB") as table:
            yield table


@pytest.fixture
def sampler() -> NeighborSampler:
    indptr = np.arange(0, 5 * NUM_NODES + 1, 5, dtype=np.int64)
    indices = np.random.default_rng(7).integers(0, NUM_NODES, 5 * NUM_NODES).astype(np.uint32)
    return NeighborSampler(ArrayGraph.homogeneous(indptr, indices), [3, 3])


def test_fetching_past_the_deadline_reads_nothing(table: FeatureTable, rows: np.ndarray) -> None:
    with pytest.raises(DeadlineExceeded):
        table.fetch(np.arange(NUM_NODES), timeout=0)

    assert table.statistics().reads == 0
    assert np.array_equal(table.fetch([5, 7], timeout=60), rows[[5, 7]])


def test_fetching_takes_a_timeout_or_a_stop(table: FeatureTable) -> None:
    with pytest.raises(InvalidArgument, match="exclude each other"):
        table.fetch([1], timeout=1, stop=Stop())


def test_fetching_that_is_cancelled_reads_no_further_part(
    table: FeatureTable, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CHUNK_ROWS", 100)
    stop = Stop()
    read = table._read

    def stopping(*arguments: object) -> None:
        read(*arguments)  # type: ignore[arg-type]
        if table.statistics().rows == 300:
            stop.set()

    monkeypatch.setattr(table, "_read", stopping)
    with pytest.raises(Cancelled):
        table.fetch(np.arange(NUM_NODES), stop=stop)

    assert table.statistics().rows == 300
    assert np.array_equal(table.fetch(np.arange(NUM_NODES)), rows)


def test_fetching_that_waits_for_another_can_be_cancelled(table: FeatureTable) -> None:
    stop = Stop()
    with table._lock:
        threading.Timer(0.02, stop.set).start()
        with pytest.raises(Cancelled):
            table.fetch(np.arange(NUM_NODES), stop=stop)
        with pytest.raises(DeadlineExceeded):
            table.fetch(np.arange(NUM_NODES), timeout=0.01)

    assert table.fetch(np.arange(NUM_NODES)).shape == (NUM_NODES, 24)


def test_drawing_past_the_deadline_draws_nothing(sampler: NeighborSampler) -> None:
    with pytest.raises(DeadlineExceeded):
        sampler.sample([1, 2, 3], stop=Stop(0))

    assert sampler.statistics().minibatches == 0
    assert (
        sampler.sample([1, 2, 3], stop=Stop(60)).nodes["node"].tolist()
        == sampler.sample([1, 2, 3]).nodes["node"].tolist()
    )


def test_drawing_that_is_cancelled_ends(sampler: NeighborSampler) -> None:
    stop = Stop()
    drawn = sampler.sample_many(SeedBatches(NodeSeeds(np.arange(NUM_NODES), "node"), 10), threads=2, stop=stop)
    next(drawn)
    stop.set()

    with pytest.raises(Cancelled):
        list(drawn)

    assert sampler.statistics().minibatches == 4  # the two that each of two threads had begun
