"""Loaders on a server give out the embedded ones' minibatches, from any position, through breaks, in any process."""

import collections
import gc
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.graphs import DRAWN
from tests.client.graphs import database as database
from tests.client.graphs import embedded as embedded
from tests.client.graphs import served as served
from tests.server.graph_root import make_root, same_minibatch
from tests.serving import Served, serving

import outcrop
from outcrop.client import Database, Retries, connect
from outcrop.client.loader import ServedLoader
from outcrop.embedded import Database as Embedded
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from outcrop.stop import Stop
from outcrop.types import OnlineOptions

ONLINE = OnlineOptions("4MiB", window=3, num_sampled=2)
FRESH = {"cache_memory": "20KiB", "pack_memory": "16MiB"}


def planned(database: Any, **options: Any) -> Any:
    with database.plan("p") as plan:
        return plan.loader(**options)


def online(database: Any) -> Any:
    return database.online_loader(**DRAWN, options=ONLINE)


def fresh(database: Any) -> Any:
    return database.fresh_loader(f"fresh-{type(database).__module__}", **DRAWN, **FRESH, epochs=3)


KINDS = [planned, online, fresh]


def same_rows(found: Any, expected: Any) -> None:
    """Compare what minibatches say of each node; in fresh plans their order depends on the cache."""
    for each in (found, expected):
        assert len(each.nodes["node"]) == len(each.features["x"])
    orders = [np.argsort(each.nodes["node"], kind="stable") for each in (found, expected)]
    for part in (lambda each: each.nodes["node"], lambda each: each.features["x"]):
        np.testing.assert_array_equal(part(found)[orders[0]], part(expected)[orders[1]])
    np.testing.assert_array_equal(found.seeds, expected.seeds)


@pytest.mark.parametrize("make", KINDS)
def test_epochs_are_the_embedded_ones(database: Database, embedded: Embedded, make: Callable[..., Any]) -> None:
    with make(database) as loader, make(embedded) as expected:
        for epoch in range(3):
            assert (len(loader), loader.position, loader.left_in_epoch) == (5, 5 * epoch, 5)
            for found, wanted in zip(loader, expected, strict=True):
                if make is fresh and epoch:
                    same_rows(found, wanted)
                else:
                    same_minibatch(found, wanted)
                del wanted
            assert loader.state_dict() == expected.state_dict()


@pytest.mark.parametrize("make", KINDS)
def test_an_iteration_that_was_left_is_taken_up(database: Database, make: Callable[..., Any]) -> None:
    with make(database) as loader:
        first = [minibatch.batch for minibatch, _ in zip(loader, range(2))]  # noqa: B905
        rest = [minibatch.batch for minibatch in loader]

    assert (first, rest) == ([0, 1], [3, 4])  # zip has taken one more


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("position", [2, 5, 11])
def test_a_loader_goes_on_from_a_state(
    database: Database, embedded: Embedded, make: Callable[..., Any], position: int
) -> None:
    with make(database) as loader, make(embedded) as expected:
        loader.next_minibatch()
        for each in (loader, expected):
            each.load_state_dict(each.state_dict() | {"position": position})

        found, wanted = loader.next_minibatch(), expected.next_minibatch()

        assert (found.epoch, found.batch, loader.position) == (wanted.epoch, wanted.batch, position + 1)
        same_rows(found, wanted)
        with pytest.raises(InvalidArgument, match="state of a loader"):
            loader.load_state_dict({"position": -1})


@pytest.mark.parametrize("make", KINDS)
def test_statistics_are_the_servers(database: Database, make: Callable[..., Any]) -> None:
    with make(database) as loader:
        assert loader.statistics() == make(database).statistics()
        list(loader)
        statistics = loader.statistics()

    counted = statistics.loader if make is fresh else statistics
    assert counted.minibatches == 5


def test_a_loader_ends_behind_its_last_pass(database: Database) -> None:
    with planned(database, passes=1) as loader:
        assert [len(list(loader)) for _ in range(3)] == [5, 5, 0]
        with pytest.raises(InvalidArgument, match="have been loaded"):
            loader.next_minibatch()
        assert loader.left_in_epoch == 0


def test_minibatches_are_the_callers(database: Database) -> None:
    with planned(database, slots=2) as loader:
        kept = list(loader) + list(loader)
    sums = [minibatch.features["x"].sum() for minibatch in kept]
    gc.collect()

    assert sums == [minibatch.features["x"].sum() for minibatch in kept]
    assert len(kept) == 10


def test_waiting_ends_when_it_is_told_to(database: Database) -> None:
    stop = Stop()
    stop.set()
    with online(database) as loader:
        with pytest.raises(Cancelled):
            loader.next_minibatch(stop=stop)
        with pytest.raises(DeadlineExceeded):
            loader.next_minibatch(stop=Stop(timeout=0))
        assert loader.position == 0
        assert loader.next_minibatch(stop=Stop(timeout=60)).batch == 0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"graph": "nothing"}, NotFound),
        ({"features": {"node": "nothing"}}, NotFound),
        ({"seeds": [600]}, InvalidArgument),
    ],
)
def test_what_the_server_refuses_is_raised_by_the_first_minibatch(
    database: Database, changes: dict[str, Any], kind: type[Exception]
) -> None:
    with database.online_loader(**(DRAWN | changes), options=ONLINE) as loader:
        for _ in range(2):
            with pytest.raises(kind):
                loader.next_minibatch()


def test_two_trainers_share_a_plan(database: Database, embedded: Embedded) -> None:
    def epoch(shard: int) -> list[Any]:
        with database.plan("q") as plan, plan.loader(shard=shard) as loader:
            return list(loader)

    with ThreadPoolExecutor(2) as trainers:
        found = list(trainers.map(epoch, range(2)))

    with embedded.plan("q") as plan:
        for shard, minibatches in enumerate(found):
            with plan.loader(shard=shard) as expected:
                for minibatch in minibatches:
                    same_minibatch(minibatch, expected.next_minibatch())


def first_batches(loader: Any, results: Any) -> None:
    results.put([(each.epoch, each.batch, float(each.features["x"].sum())) for each in loader])


@pytest.mark.parametrize("method", [pytest.param("fork", marks=pytest.mark.forks), "spawn"])
def test_a_loader_goes_to_other_processes(database: Database, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with planned(database) as loader:
        here = [(each.epoch, each.batch, float(each.features["x"].sum())) for each in loader]
        loader.load_state_dict(loader.state_dict() | {"position": 0})
        results = context.Queue()
        child = context.Process(target=first_batches, args=(loader, results))
        child.start()
        there = results.get(timeout=60)
        child.join(30)

        assert there == here
        assert len(list(loader)) == 5


def test_a_pickle_goes_on_where_the_loader_stands(database: Database) -> None:
    with planned(database) as loader:
        loader.next_minibatch()
        with pickle.loads(pickle.dumps(loader)) as copy:
            assert (copy.position, copy.next_minibatch().batch) == (1, 1)


# ---- breaks


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    make_root(tmp_path / "root")
    with serving(tmp_path / "root", threads=1, memory="48MiB") as server:
        yield server


@pytest.mark.parametrize("make", KINDS)
def test_a_stream_is_taken_up_when_the_server_is_back(own: Served, make: Callable[..., Any]) -> None:
    patient = Retries(attempts=100, first_seconds=0.05, longest_seconds=0.2)
    with connect(own.url, retries=patient) as database, make(database) as loader:
        found = [loader.next_minibatch()]
        own.kill()
        with serving(own.path, threads=1, memory="48MiB", listen=own.address):
            found += [loader.next_minibatch() for _ in range(11)]

    with connect_embedded(own) as embedded, make(embedded) as expected:
        for minibatch in found:
            same_rows(minibatch, expected.next_minibatch())


def connect_embedded(server: Served) -> Embedded:
    found = outcrop.connect(server.path, memory="48MiB")
    assert isinstance(found, Embedded)
    return found


def test_a_server_that_stays_away_is_an_error_and_the_next_call_tries_again(own: Served) -> None:
    hasty = Retries(attempts=2, first_seconds=0.01, longest_seconds=0.02)
    with connect(own.url, retries=hasty) as database, planned(database) as loader:
        first = loader.next_minibatch().batch
        own.kill()
        with pytest.raises(Unavailable):
            collections.deque((loader.next_minibatch() for _ in range(20)), 0)
        position = loader.position
        with serving(own.path, threads=1, memory="48MiB", listen=own.address):
            deadline = time.monotonic() + 20
            while True:
                try:
                    assert loader.next_minibatch().batch == position % 5
                    break
                except Unavailable:
                    assert time.monotonic() < deadline
    assert first == 0


# ---- bounds


def test_what_waits_is_bounded_in_number_and_bytes(database: Database) -> None:
    for options, most in (({"prefetch": 2}, 2), ({"prefetch": 9, "prefetch_memory": 1}, 1)):
        with planned(database, **options) as loader:
            loader.next_minibatch()
            deadline = time.monotonic() + 10
            while waiting(loader) < most:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.2)
            assert waiting(loader) == most


def waiting(loader: "ServedLoader[Any]") -> int:
    assert loader._run is not None
    return len(loader._run._ready)


def test_closing_ends_the_thread(database: Database) -> None:
    before = threading.active_count()
    for make in KINDS:
        with make(database) as loader:
            loader.next_minibatch()

    assert threading.active_count() == before


def test_a_loader_that_is_forgotten_ends_its_thread(database: Database) -> None:
    before = threading.active_count()
    planned(database).next_minibatch()
    gc.collect()

    deadline = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
