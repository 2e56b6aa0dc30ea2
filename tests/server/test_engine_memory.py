"""All that a server has open stays within one budget, and whoever asks for what does not fit at once waits his turn."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop.collection import statistics_if_open
from outcrop.errors import ResourceExhausted
from outcrop.server.engine import Engine
from outcrop.server.memory_pool import COLLECTIONS, MemoryPool
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer
from outcrop.server.settings import ServerSettings

# With 16 threads a collection makes use of as much, most of it for their buffers.
WANTED_BY_ONE = 900 << 10
NAMES = [f"c{number:02}" for number in range(20)]
ROWS, DIM, DIFFERENT = 300, 8, 5
Open = Callable[..., Engine]


def vectors_of(number: int, version: int = 0) -> np.ndarray:
    """Of collection `number`; four of them are equal, and are copies, which are quicker than builds."""
    return np.random.default_rng([number % DIFFERENT, version]).standard_normal((ROWS, DIM), np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "root"
    with outcrop.connect(path, threads=1) as database:
        for number, name in enumerate(NAMES[:DIFFERENT]):
            collection = database.create_collection(name, dim=DIM)
            collection.build(vectors_of(number), memory="32MiB", num_centroids=4).wait()
        database.create_snapshot("different")
        for start in range(DIFFERENT, len(NAMES), DIFFERENT):
            copies = dict(zip(NAMES[:DIFFERENT], NAMES[start:], strict=False))
            database.restore_snapshot("different", rename=copies).wait()
        database.import_features("x", vectors_of(0)).wait()
    return path


@pytest.fixture
def opened(root: Path) -> Iterator[Open]:
    engines = []

    def open_engine(memory: int, most_wait_seconds: float = 5.0, threads: int = 1) -> Engine:
        engine = Engine(ServerSettings(path=root, memory=memory, threads=threads))
        engine.pool._most_wait_seconds = most_wait_seconds
        engines.append(engine)
        return engine

    yield open_engine
    for engine in engines:
        engine.close()
        assert engine.pool.memory.statistics().peak_bytes <= engine.settings.memory
        assert engine.pool.memory.statistics().reserved_bytes == 0


@pytest.fixture(scope="module")
def need(root: Path) -> int:
    """What one of the collections takes where there is plenty."""
    with Engine(ServerSettings(path=root, memory="64MiB", threads=1)) as engine:
        ask(engine, 0)
        return held(engine)


def ask(engine: Engine, number: int, row: int = 17, version: int = 0) -> None:
    """Search for a stored vector, and check that it is found."""
    found = engine.collection(NAMES[number]).search(vectors_of(number, version)[row], k=1, nprobe=4)
    assert (found.ids[0, 0], found.distances[0, 0]) == (row, 0)


def held(engine: Engine) -> int:
    """By the accountants of the collections that are open."""
    statistics = [statistics_if_open(engine.database.collection(name)) for name in engine.database.collection_names()]
    total = sum(each.memory.reserved_bytes for each in statistics if each is not None)
    assert total <= dict(engine.pool.memory.statistics().owners).get(COLLECTIONS, 0)
    return total


def names_open(engine: Engine) -> list[str]:
    names = engine.database.collection_names()
    return [name for name in names if statistics_if_open(engine.database.collection(name)) is not None]


def test_a_small_collection_takes_no_more_than_it_can_use(opened: Open, need: int) -> None:
    engine = opened(1 << 30)
    ask(engine, 0)

    disk_bytes = engine.collection(NAMES[0]).info().disk_bytes
    assert held(engine) == need < 4 * disk_bytes + (512 << 10)


def test_many_collections_share_the_budget_of_three(opened: Open, need: int) -> None:
    engine = opened(3 * need + need // 2)

    for number in [*range(20), *range(20)]:
        ask(engine, number)
        assert held(engine) <= 3 * need
        assert engine.pool.memory.statistics().reserved_bytes <= engine.settings.memory

    assert names_open(engine) == NAMES[-3:]


def test_the_one_used_longest_ago_is_closed(opened: Open, need: int) -> None:
    engine = opened(3 * need + need // 2)
    for number in (0, 1, 2, 0, 3):
        ask(engine, number)

    assert names_open(engine) == ["c00", "c02", "c03"]


def test_observers_are_no_users(opened: Open, need: int) -> None:
    engine = opened(3 * need + need // 2)
    for number in (0, 1, 2):
        ask(engine, number)
    statistics_if_open(engine.database.collection("c00"))
    ask(engine, 3)

    assert names_open(engine) == ["c01", "c02", "c03"]


def test_a_table_and_a_collection_make_room_for_each_other(opened: Open, need: int) -> None:
    engine = opened(need + need // 8)
    ask(engine, 0)
    with engine.opened.table("x") as table:
        np.testing.assert_array_equal(table.fetch([5]), vectors_of(0)[[5]])
        assert names_open(engine) == []
    ask(engine, 1)

    assert names_open(engine) == ["c01"]
    assert engine.opened.statistics() == []


def test_those_that_could_each_use_all_fit_beside_each_other(opened: Open) -> None:
    engine = opened(WANTED_BY_ONE, threads=16)
    shares = []
    for number in (0, 1, 2, 0, 1, 2):
        ask(engine, number)
        shares.append(engine.collection(NAMES[number]).statistics().memory.budget_bytes * 4 / WANTED_BY_ONE)

    assert names_open(engine) == NAMES[:3]
    # The first takes three quarters, is closed for the third, and finds room for two.
    assert shares == pytest.approx([3, 1, 1, 2, 1, 1], abs=0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_searches_of_more_collections_than_fit_wait_for_each_other(opened: Open, need: int, seed: int) -> None:
    print("seed", seed)
    engine = opened(3 * need + need // 2, most_wait_seconds=60)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        rng = np.random.default_rng([seed, number])
        try:
            for _ in range(25):
                ask(engine, int(rng.integers(20)), int(rng.integers(ROWS)))
                assert engine.pool.memory.statistics().reserved_bytes <= engine.settings.memory
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(names_open(engine)) <= 3


def test_a_collection_that_could_never_fit_is_refused_at_once_and_closes_nothing(opened: Open) -> None:
    engine = opened(200 << 10)

    with pytest.raises(ResourceExhausted, match=r"'c00': expected .*204800 bytes.*found .*give the server more"):
        ask(engine, 0)
    with pytest.raises(ResourceExhausted, match="a loader asked for"):
        engine.opened.reserve("a loader", 1 << 30)


def test_what_calls_under_way_hold_is_waited_for_and_then_refused(opened: Open, need: int) -> None:
    engine = opened(need, most_wait_seconds=0.05)
    refused = pytest.raises(ResourceExhausted, match="held by calls under way: a loader")
    with engine.opened.reserve("a loader", need - 1000), refused:
        ask(engine, 0)

    ask(engine, 0)


def test_a_scan_keeps_its_version_while_its_memory_is_wanted(opened: Open) -> None:
    engine = opened(WANTED_BY_ONE, threads=16)
    with engine.collection("c00").scan(batch_rows=50) as scan:
        first, _ = next(scan)
        for number in (1, 2, 3):
            ask(engine, number)
        rest = [ids for ids, _ in scan]

    assert sorted(np.concatenate([first, *rest]).tolist()) == list(range(ROWS))


def test_a_new_version_stays_within_the_budget_while_the_old_one_is_used(tmp_path: Path) -> None:
    with Engine(ServerSettings(path=tmp_path, memory=WANTED_BY_ONE, threads=16)) as engine:
        docs = engine.database.create_collection(NAMES[0], dim=DIM)
        docs.build(vectors_of(0), memory="32MiB", num_centroids=4).wait()
        with docs.scan(batch_rows=50) as scan:
            next(scan)
            docs.build(vectors_of(0, version=1), memory="32MiB", num_centroids=4).wait()
            ask(engine, 0, version=1)
            shares = dict(engine.pool.memory.statistics().owners)[COLLECTIONS]
            assert held(engine) < shares <= engine.settings.memory
        assert held(engine) == dict(engine.pool.memory.statistics().owners)[COLLECTIONS]


def test_metrics_tell_each_collection_once(opened: Open, need: int) -> None:
    engine, metrics = opened(3 * need + need // 2), ServerMetrics()
    for number in range(4):
        ask(engine, number)
    with engine.opened.reserve("a loader", 1000):
        Observer(engine, metrics).observe()

    def told(kind: str) -> dict[str, float]:
        family = next(each for each in metrics.registry.collect() if each.name == "outcrop_memory_bytes")
        totals: dict[str, float] = {}
        for sample in family.samples:
            if sample.labels["kind"] == kind:
                totals[sample.labels["name"]] = totals.get(sample.labels["name"], 0) + sample.value
        return {name: size for name, size in totals.items() if size}

    collections = told("collections")
    assert list(collections) == ["c01", "c02", "c03"]
    assert sum(collections.values()) == held(engine)
    assert told("server") == {"graphs and features": 1000}


def test_a_pool_with_nothing_open_has_nothing_to_close() -> None:
    pool = MemoryPool(1 << 20)

    assert not pool.close_oldest()
    assert not pool.make_room()


def test_a_collection_that_was_made_anew_elsewhere_gives_its_memory_back(tmp_path: Path) -> None:
    with Engine(ServerSettings(path=tmp_path, memory="64MiB", threads=1)) as engine, outcrop.connect(tmp_path) as other:
        for version in (0, 1):
            if version:
                other.drop_collection("c00")
            collection = other.create_collection("c00", dim=DIM)
            collection.build(vectors_of(0, version), memory="32MiB", num_centroids=4).wait()
            ask(engine, 0, version=version)

        assert held(engine) == engine.pool.memory.statistics().reserved_bytes


def test_embedded_collections_have_a_budget_each(root: Path, need: int) -> None:
    with outcrop.connect(root, memory=need, threads=1) as database:
        budgets = []
        for number in range(3):
            database.collection(NAMES[number]).search(vectors_of(number)[0], k=1)
            budgets.append(database.collection(NAMES[number]).statistics().memory.reserved_bytes)

    assert budgets == [need] * 3
