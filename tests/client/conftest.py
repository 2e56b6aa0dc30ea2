"""One server for the folder, with a small collection in it."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.serving import Served, serving

import outcrop


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served") / "root"
    vectors = np.random.default_rng(7).random((3000, 16), np.float32)
    with outcrop.connect(root, threads=1, memory="32MiB") as database:
        database.create_collection("photos", dim=16).build(vectors).wait()
    with serving(root, threads=1, memory="32MiB") as served:
        yield served
