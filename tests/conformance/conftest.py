"""One suite, four places to run it: a folder or a server, called or awaited."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.blocking import Blocking, LoopThread
from tests.serving import Served, serving

import outcrop
from outcrop.embedded import Database

PLACES = ("embedded", "embedded-async", "served", "served-async")
MEMORY = "64MiB"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root: Path = tmp_path_factory.mktemp("conformance") / "root"
    with serving(root, threads=1, memory=MEMORY, log={"level": "error"}) as served:
        yield served


@pytest.fixture(scope="session")
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


@pytest.fixture(params=PLACES)
def database(request: pytest.FixtureRequest, tmp_path: Path, thread: LoopThread) -> Iterator[Any]:
    """An empty database."""
    served = request.param.startswith("served")
    url = request.getfixturevalue("server").url if served else tmp_path / "root"
    with connected(request.param, url, thread) as found:
        yield found
    if served:
        emptied(url)


@contextlib.contextmanager
def connected(place: str, url: str | Path, thread: LoopThread) -> Iterator[Any]:
    """A database, in one of the ways that there are."""
    options: dict[str, Any] = {} if place.startswith("served") else {"threads": 1, "memory": MEMORY}
    if place.endswith("async"):
        with Blocking(thread, outcrop.connect_async(url, **options)) as found:
            yield found
    else:
        with outcrop.connect(url, **options) as found:
            yield found


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[Database]:
    """An embedded database beside the one under test: what it does, the other shall do."""
    with outcrop.connect(tmp_path / "reference", threads=1, memory=MEMORY) as made:
        yield made


@pytest.fixture
def vectors() -> np.ndarray[Any, Any]:
    return np.random.default_rng(11).normal(size=(400, 12)).astype(np.float32)


def emptied(url: str) -> None:
    """Leave nothing for the next test."""
    with outcrop.connect(url) as database:
        for name in database.plan_names():
            database.drop_plan(name)
        for name in database.feature_names():
            database.drop_features(name)
        for name in database.graph_names():
            database.drop_graph(name)
        for name in database.collection_names():
            database.drop_collection(name)
        for snapshot in database.list_snapshots():
            database.delete_snapshot(snapshot.name)
