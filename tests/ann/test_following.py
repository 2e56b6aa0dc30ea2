"""A collection that is open notices what other connections build, and goes over to it when it is told to."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import outcrop
from outcrop.embedded import Collection, Database

Built = Callable[..., Collection]
Vectors = Callable[..., np.ndarray]


@pytest.fixture
def reader(database: Database, tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root", read_only=True, memory="16MiB", threads=2) as reader:
        yield reader


def test_a_reader_follows_what_a_writer_builds(
    built: Built, vectors: Vectors, database: Database, reader: Database
) -> None:
    rows = vectors(100, 8)
    built(rows)
    followed = reader.collection("c")
    assert followed.is_current()  # nothing is open yet
    assert not followed.catch_up()
    assert followed.search(rows[0], 1).ids.tolist() == [[0]]
    assert followed.is_current()

    database.collection("c").build(rows[::-1]).wait()

    assert not followed.is_current()
    assert followed.search(rows[0], 1).ids.tolist() == [[0]]  # of the version that is open
    assert followed.catch_up()
    assert followed.search(rows[0], 1).ids.tolist() == [[99]]
    assert followed.is_current()
    assert not followed.catch_up()


def test_a_collection_that_was_dropped_is_not_current(
    built: Built, vectors: Vectors, database: Database, reader: Database
) -> None:
    rows = vectors(100, 8)
    built(rows)
    followed = reader.collection("c")
    followed.search(rows[0], 1)

    database.drop_collection("c")
    assert not followed.is_current()
    built(rows[:50])  # another one of that name
    assert not followed.is_current()
    assert reader.collection("c").is_current()


def test_searches_under_way_end_with_their_version(built: Built, vectors: Vectors, database: Database) -> None:
    rows = vectors(400, 8)
    collection = built(rows)
    failures: list[BaseException] = []
    done = threading.Event()

    def search() -> None:
        try:
            while not done.is_set():
                assert collection.search(rows[:20], 1, nprobe=1 << 20).ids[:, 0].tolist() in (first, last)
        except BaseException as error:
            failures.append(error)

    first, last = list(range(20)), list(range(399, 379, -1))
    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    with outcrop.connect(database._root.path, threads=1) as other:
        for turn in range(4):
            other.collection("c").build(rows if turn % 2 else rows[::-1], num_centroids=8, copies=1).wait()
            assert collection.catch_up()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
