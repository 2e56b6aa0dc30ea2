"""One server for the tests of graphs, and its root opened beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.graph_root import FANOUTS, make_root, train_seeds
from tests.serving import Served, serving

import outcrop
from outcrop.client import Database, connect
from outcrop.embedded import Database as Embedded

DRAWN: dict[str, Any] = {
    "graph": "g",
    "features": "x",
    "seeds": train_seeds(),
    "fanouts": FANOUTS,
    "batch_size": 64,
    "seed": 7,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path: Path = tmp_path_factory.mktemp("graphs") / "root"
    make_root(path)
    with serving(path, threads=1, memory="48MiB") as server:
        yield server


@pytest.fixture(scope="module")
def database(served: Served) -> Iterator[Database]:
    with connect(served.url) as database:
        yield database


@pytest.fixture(scope="module")
def embedded(served: Served) -> Iterator[Embedded]:
    """The same root in this process."""
    with outcrop.connect(served.path, memory="48MiB") as database:
        yield database
