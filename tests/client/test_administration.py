"""A root and its server are looked after from elsewhere."""

import importlib.metadata
from collections.abc import Iterator

import numpy as np
import pytest
from tests.serving import Served, serving

import outcrop
from outcrop import client
from outcrop.errors import InvalidArgument, NotFound


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("looked-after") / "root"
    with outcrop.connect(root, threads=1) as database:
        database.import_graph("web", np.array([[0, 1, 2], [1, 2, 0]])).wait()
        database.import_features("rows", np.ones((3, 2), np.float32)).wait()
    with serving(root, threads=1) as served:
        yield served


def test_what_is_stored_is_listed_and_verified_as_in_the_folder_itself(stored: Served) -> None:
    with client.connect(stored.url) as served, outcrop.connect(stored.path, read_only=True) as embedded:
        assert served.stored_names() == embedded.stored_names() == [("graphs", "web"), ("features", "rows")]
        for kind, name in served.stored_names():
            steps: list[outcrop.Progress] = []
            assert served.verify(kind, name, progress=steps.append) == embedded.verify(kind, name)
            assert steps


def test_what_cannot_be_verified_is_refused_as_in_the_folder_itself(stored: Served) -> None:
    with client.connect(stored.url) as served:
        with pytest.raises(NotFound, match="lost"):
            served.verify("graphs", "lost")
        with pytest.raises(InvalidArgument, match="kind: expected one of graphs, features, plans, found 'edges'"):
            served.verify("edges", "web")


def test_a_server_tells_what_it_is_and_clears_up(stored: Served) -> None:
    with client.connect(stored.url) as served:
        info = served.server_info()
        assert served.gc() == []

    assert (info.version, info.role, info.writer) == (importlib.metadata.version("outcrop"), "admin", True)
    assert info.limits.k == info.limits.queries == 16_384
    assert info.process == stored.process.pid
