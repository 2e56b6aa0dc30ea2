"""One server for the folder, with a small collection in it; tests that fork, in processes of their own."""

import os
import subprocess
import sys
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


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is marked `forks` by a pytest of its own: once a process has used grpc's asyncio stack, as other
    tests do, its forks can call no server."""
    if pyfuncitem.get_closest_marker("forks") is None or "OUTCROP_TEST_MAY_FORK" in os.environ:
        return None
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env=os.environ | {"OUTCROP_TEST_MAY_FORK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return True
