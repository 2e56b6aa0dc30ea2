"""What is opened for calls stays within its budget, is shared by them, and goes when nobody needs it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop.embedded import Database
from outcrop.errors import NotFound, ResourceExhausted
from outcrop.gnn_loader import FeatureTable
from outcrop.server.memory_pool import MemoryPool
from outcrop.server.opened import OpenedObjects

ROWS = np.arange(3000 * 8, dtype=np.float32).reshape(3000, 8)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root") as database:
        for name in ("a", "b", "c"):
            database.import_features(name, ROWS).wait()
        edges = np.random.default_rng(0).integers(0, 500, (2, 4000))
        database.import_graph("g", edges, num_nodes=500).wait()
        yield database


def opened_of(database: Database, memory: int = 64 << 20, idle_seconds: float = 60.0) -> OpenedObjects:
    return OpenedObjects(database.connection.root, MemoryPool(memory), "auto", idle_seconds)


def names(opened: OpenedObjects) -> list[str]:
    return [name for _, name, _ in opened.statistics()]


def test_calls_share_what_is_open(database: Database) -> None:
    opened = opened_of(database)
    found: list[FeatureTable] = []

    def work() -> None:
        for _ in range(20):
            with opened.table("a") as table:
                np.testing.assert_array_equal(table.fetch([7, 3]), ROWS[[7, 3]])
                found.append(table)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 160
    assert len(set(map(id, found))) == 1
    opened.close()
    assert opened.memory.statistics().reserved_bytes == 0


def test_the_one_used_longest_ago_makes_room(database: Database) -> None:
    # Room for the buffers of two tables, a sixteenth of the budget or 64 KiB each.
    opened = opened_of(database, memory=140 << 10)
    for name in ("a", "b", "a", "c"):
        with opened.table(name) as table:
            assert table.name == name

    assert names(opened) == ["a", "c"]
    opened.close()


def test_what_is_in_use_is_not_closed_for_another(database: Database) -> None:
    opened = opened_of(database, memory=140 << 10)

    with opened.table("a") as table, opened.table("b"):
        with pytest.raises(ResourceExhausted, match="held by"), opened.table("c"):
            pass
        np.testing.assert_array_equal(table.fetch([5]), ROWS[[5]])

    with opened.table("c"):
        pass
    opened.close()


def test_loaders_take_the_room_of_idle_tables(database: Database) -> None:
    opened = opened_of(database, memory=140 << 10)
    with opened.table("a"), opened.table("b"):
        pass

    with opened.reserve("a loader", 100 << 10), pytest.raises(ResourceExhausted, match="a loader"):
        opened.reserve("another", 100 << 10)

    assert names(opened) == []
    opened.close()


def test_a_new_version_is_seen_and_the_old_one_stays_for_who_names_it(database: Database) -> None:
    opened = opened_of(database)
    with opened.table("a") as table:
        assert (table.manifest.version, float(table.fetch([1])[0, 0])) == (1, 8.0)
    database.import_features("a", ROWS + 1).wait()

    with opened.table("a") as new, opened.table("a", version=1) as old:
        assert (new.manifest.version, float(new.fetch([1])[0, 0])) == (2, 9.0)
        np.testing.assert_array_equal(old.fetch([1]), ROWS[[1]])
    opened.release_idle()
    database.gc()

    with pytest.raises(NotFound, match="has no version 1; the current one is 2"), opened.table("a", version=1):
        pass
    opened.close()


def test_another_object_of_the_name_is_refused(database: Database) -> None:
    opened = opened_of(database)
    first = opened.record("features", "a").id
    database.drop_features("a")
    database.import_features("a", ROWS + 1).wait()

    with pytest.raises(NotFound, match="dropped and made anew"), opened.table("a", first, version=1):
        pass
    with opened.table("a") as table:
        assert float(table.fetch([0])[0, 0]) == 1.0
    opened.close()


def test_what_is_missing_leaves_nothing_behind(database: Database) -> None:
    opened = opened_of(database)
    for name, version in (("z", None), ("a", 7)):
        with pytest.raises(NotFound), opened.table(name, version=version):
            pass

    assert names(opened) == []
    opened.close()


def test_an_idle_object_is_closed_after_a_while(database: Database) -> None:
    opened = opened_of(database, idle_seconds=0.2)
    with opened.table("a"):
        pass
    with opened.graph("g"):
        deadline = time.monotonic() + 30
        while names(opened) != ["g"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    opened.close()


def test_idle_tables_make_room_for_a_graph_in_memory(database: Database) -> None:
    opened = opened_of(database, memory=10 << 20)
    for name in ("a", "b", "c"):
        with opened.table(name):
            pass

    with opened.graph("g") as graph:
        assert graph.placement == "memory"
    opened.close()
