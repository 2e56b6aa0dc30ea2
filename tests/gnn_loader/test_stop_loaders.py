"""Whoever waits for a minibatch can be told to stop; the loader goes on, and the next call waits for the same one."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.embedded import Database
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument
from outcrop.gnn_loader import NeighborSampler
from outcrop.gnn_loader.planning.planner import Planner
from outcrop.stop import Stop
from outcrop.types import OnlineOptions

NUM_NODES = 600
ASKED: dict[str, Any] = {
    "graph": "graph",
    "features": "rows",
    "seeds": np.arange(0, NUM_NODES, 3),
    "fanouts": [3, 2],
    "batch_size": 20,
    "seed": 5,
}
PER_EPOCH = 10


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    random = np.random.default_rng(1)
    indices = random.integers(0, NUM_NODES, 4 * NUM_NODES)
    with outcrop.connect(tmp_path / "root", threads=1) as database:
        database.import_graph("graph", (np.arange(0, 4 * NUM_NODES + 1, 4), indices)).wait()
        database.import_features("rows", random.normal(size=(NUM_NODES, 8)).astype(np.float32)).wait()
        yield database


def planned(database: Database) -> Any:
    database.create_plan("plan", epochs=2, cache_memory=0, **ASKED).wait()
    plan = database.plan("plan")
    loader = plan.loader(slots=2)
    plan.close()
    return loader


def fresh(database: Database) -> Any:
    return database.fresh_loader("fresh", epochs=2, cache_memory=0, **ASKED)


def online(database: Database) -> Any:
    return database.online_loader(options=OnlineOptions(cache_memory="64KiB"), **ASKED)


LOADERS = pytest.mark.parametrize("opened", [planned, fresh, online])


@LOADERS
def test_a_call_past_its_deadline_takes_no_minibatch(database: Database, opened: Callable[[Database], Any]) -> None:
    with opened(database) as loader:
        for position in range(PER_EPOCH + 2):  # into the second epoch
            for stop in (Stop(0), _cancelled()):
                with pytest.raises((Cancelled, DeadlineExceeded)):
                    loader.next_minibatch(stop=stop)
            assert loader.position == position
            minibatch = loader.next_minibatch(stop=Stop(60))
            assert (minibatch.epoch, minibatch.batch) == divmod(position, PER_EPOCH)
            del minibatch


@LOADERS
def test_calls_and_iterations_take_turns(database: Database, opened: Callable[[Database], Any]) -> None:
    with opened(database) as loader:
        found = [loader.next_minibatch().batch]
        found += [minibatch.batch for minibatch in loader]
        assert found == list(range(PER_EPOCH))
        assert loader.next_minibatch().epoch == 1


def test_who_waits_for_a_plan_to_be_made_can_leave(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, run = threading.Event(), Planner.run

    def slow(*arguments: Any) -> Any:
        go_on.wait()
        return run(*arguments)

    monkeypatch.setattr(Planner, "run", slow)
    with fresh(database) as loader:
        _assert_waiting_ends(loader)
        go_on.set()
        assert loader.next_minibatch(stop=Stop(60)).batch == 0


def test_who_waits_for_an_online_minibatch_can_leave(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, draw = threading.Event(), NeighborSampler.draw
    caller = threading.current_thread()

    def slow(*arguments: Any, **others: Any) -> Any:
        if threading.current_thread() is not caller:
            go_on.wait()
        return draw(*arguments, **others)

    monkeypatch.setattr(NeighborSampler, "draw", slow)
    with online(database) as loader:
        _assert_waiting_ends(loader)
        go_on.set()
        assert loader.next_minibatch(stop=Stop(60)).batch == 0


def test_behind_the_last_epoch_there_is_no_minibatch(database: Database) -> None:
    with fresh(database) as loader:
        for _ in range(2 * PER_EPOCH):
            loader.next_minibatch()
        with pytest.raises(InvalidArgument, match="all minibatches of 2 epochs"):
            loader.next_minibatch()
        assert list(loader) == []
    with online(database) as loader:
        loader.next_minibatch()
    with pytest.raises(InvalidArgument, match="closed"):
        loader.next_minibatch()


def test_filling_the_cache_for_a_resumed_plan_can_be_left(database: Database) -> None:
    database.create_plan("plan", epochs=2, cache_memory="1MiB", **ASKED).wait()
    with database.plan("plan") as plan, plan.loader() as loader:
        loader.load_state_dict(loader.state_dict() | {"position": 7})
        with pytest.raises(DeadlineExceeded):
            loader.next_minibatch(stop=Stop(1e-4))
        assert loader.next_minibatch(stop=Stop(60)).batch == 7


def _assert_waiting_ends(loader: Any) -> None:
    with pytest.raises(DeadlineExceeded):
        loader.next_minibatch(stop=Stop(0.05))
    stop = Stop()
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Cancelled):
        loader.next_minibatch(stop=stop)
    timer.join()
    assert loader.position == 0


def _cancelled() -> Stop:
    stop = Stop()
    stop.set()
    return stop
