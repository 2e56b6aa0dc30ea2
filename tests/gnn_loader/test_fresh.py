"""Each epoch has a plan of its own, made while the one before it trains; its minibatches are the sampler's."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.embedded import Database
from outcrop.errors import InvalidArgument, NotFound, ResourceExhausted
from outcrop.gnn_loader import FreshLoader, NeighborSampler, SeedBatches
from outcrop.types import AnyArray, NodeSeeds

NUM_NODES, DEGREE, DIM = 3000, 6, 12
ROW_BYTES = 4 * DIM
SEEDS = np.arange(0, NUM_NODES, 7)


def _rows() -> AnyArray:
    return np.random.default_rng(1).standard_normal((NUM_NODES, DIM)).astype(np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    sources = (np.random.default_rng(0).random(NUM_NODES * DEGREE) ** 2 * NUM_NODES).astype(int)
    with outcrop.connect(tmp_path / "root", threads=2) as opened:
        opened.import_graph("graph", (np.arange(0, NUM_NODES * DEGREE + 1, DEGREE), sources)).wait()
        opened.import_features("rows", _rows()).wait()
        yield opened


def _loader(database: Database, **options: Any) -> FreshLoader:
    given = {"graph": "graph", "features": "rows", "seeds": SEEDS, "fanouts": [4, 3], "batch_size": 64, "seed": 5}
    return database.fresh_loader("fresh", **{**given, "cache_memory": 300 * ROW_BYTES, **options})


def _drawn(database: Database, epoch: int) -> list[AnyArray]:
    with database.graph("graph") as graph:
        batches = SeedBatches(NodeSeeds(SEEDS), 64, seed=5)
        return [
            m.nodes["node"].copy() for m in NeighborSampler(graph, [4, 3], seed=5).sample_many(batches, epoch=epoch)
        ]


def _check(loader: FreshLoader, database: Database, epoch: int, first: int = 0) -> None:
    rows = _rows()
    for batch, (minibatch, drawn) in enumerate(zip(loader, _drawn(database, epoch)[first:], strict=True), start=first):
        assert (minibatch.epoch, minibatch.batch) == (epoch, batch)
        assert sorted(minibatch.nodes["node"].tolist()) == sorted(drawn.tolist())
        np.testing.assert_array_equal(minibatch.features["rows"], rows[minibatch.nodes["node"]])


@pytest.mark.parametrize("cache_rows", [0, 40, 300, NUM_NODES])
def test_every_epoch_is_the_samplers_and_its_rows_the_tables(database: Database, cache_rows: int) -> None:
    with _loader(database, cache_memory=cache_rows * ROW_BYTES, epochs=4) as loader:
        for epoch in range(4):
            _check(loader, database, epoch)
        assert list(loader) == []  # all epochs are over
        assert loader.position == 4 * len(loader)
        found = loader.statistics()
    assert [epoch.epoch for epoch in found.epochs] == [0, 1, 2, 3]
    assert found.making is None
    assert all(epoch.making_seconds > 0 and 0 <= epoch.hidden <= 1 for epoch in found.epochs)


def test_the_cache_is_carried_into_the_next_epoch(database: Database) -> None:
    with _loader(database, cache_memory=NUM_NODES * ROW_BYTES, epochs=3) as loader:
        for epoch in range(3):
            _check(loader, database, epoch)
        first, *others = loader.statistics().epochs
    wanted = [set(np.concatenate(_drawn(database, epoch)).tolist()) for epoch in range(3)]
    assert first.misses == len(wanted[0])
    # Every row that an epoch wanted is there for the next one.
    assert [epoch.misses for epoch in others] == [len(wanted[1] - wanted[0]), len(wanted[2] - wanted[1] - wanted[0])]


def test_a_carried_cache_of_any_size_misses_less_than_one_that_begins_empty(database: Database) -> None:
    with _loader(database, cache_memory=600 * ROW_BYTES, epochs=2) as loader:
        for epoch in range(2):
            _check(loader, database, epoch)
        carried = loader.statistics().epochs[1].misses
    with _loader(database, cache_memory=600 * ROW_BYTES) as loader:
        loader.load_state_dict({"position": len(loader)})
        _check(loader, database, 1)
        assert loader.statistics().epochs[0].misses > carried


def test_the_next_epoch_is_made_behind_training(database: Database) -> None:
    with _loader(database, epochs=3) as loader:
        for epoch in range(3):
            for batch, _ in enumerate(loader):
                if batch == 0 and epoch < 2:
                    deadline = time.monotonic() + 60  # a trainer that takes long enough
                    while (making := loader.statistics().making) is None or making.stage != "done":
                        assert time.monotonic() < deadline
                        time.sleep(0.01)
        first, *others = loader.statistics().epochs
    assert first.hidden < 0.5
    assert all(epoch.hidden > 0.5 for epoch in others)


def test_the_disk_holds_two_epochs_and_nothing_afterwards(database: Database, tmp_path: Path) -> None:
    def versions() -> int:
        return len(list((tmp_path / "root" / "plans").glob("*/v*")))

    with _loader(database) as loader:
        for _ in range(4):
            most = 0
            for _minibatch in loader:
                most = max(most, versions())
            assert 1 <= most <= 2
    assert versions() == 0
    with pytest.raises(NotFound):
        database.plan("fresh")


def test_a_state_goes_on_in_the_middle_of_an_epoch(database: Database) -> None:
    with _loader(database) as loader:
        _check(loader, database, 0)
        seen = [minibatch.batch for minibatch in itertools.islice(loader, 3)]
        state = loader.state_dict()
    with _loader(database) as other:
        other.load_state_dict(state)
        assert seen == [0, 1, 2]
        _check(other, database, 1, first=3)
        _check(other, database, 2)
        with pytest.raises(InvalidArgument, match="position"):
            other.load_state_dict({"position": "x"})


def test_closing_stops_what_is_being_made(database: Database) -> None:
    before = threading.active_count()
    loader = _loader(database)
    next(iter(loader))
    loader.close()
    loader.close()
    assert threading.active_count() == before
    with pytest.raises(InvalidArgument, match="closed"):
        next(iter(loader))


def test_a_carried_plan_is_nothing_alone(database: Database) -> None:
    with _loader(database) as loader:
        _check(loader, database, 0)
        next(iter(loader))  # of the second epoch, whose plan is now the current one, or soon the third's
        with database.plan("fresh") as plan:
            with pytest.raises(InvalidArgument, match="pass caches"):
                plan.loader()
            with pytest.raises(InvalidArgument, match="cannot be verified"):
                plan.verify()


def test_what_cannot_work_is_refused(database: Database) -> None:
    with _loader(database, disk="8KiB") as loader, pytest.raises(ResourceExhausted, match="of disk"):
        next(iter(loader))
    with pytest.raises(InvalidArgument, match="num_epochs"):
        _loader(database, epochs=0)
    with _loader(database, seeds=np.empty(0, np.int64)) as loader:
        assert list(loader) == []
