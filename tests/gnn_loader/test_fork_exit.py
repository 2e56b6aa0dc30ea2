"""A forked child that leaves through the interpreter ends, whatever its parent had open."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.readers import skip_without

PROCESS = """
import os, sys
import numpy as np
import outcrop
from outcrop.gnn_loader import OnlineOptions

random = np.random.default_rng(0)
plan = {"graph": "g", "features": "x", "seeds": np.arange(500), "fanouts": [5, 5], "batch_size": 100}

def loader_of(database, mode):
    if mode == "online":
        return database.online_loader(options=OnlineOptions(cache_memory="1MiB", window=3), **plan)
    if mode == "fresh":
        return database.fresh_loader("f", cache_memory="16KiB", **plan)
    database.create_plan("p", cache_memory="16KiB", **plan).wait()
    return database.plan("p").loader()

with outcrop.connect(sys.argv[3], reader=sys.argv[1]) as database:
    database.import_graph("g", random.integers(0, 2000, (2, 20000)), num_nodes=2000).wait()
    database.import_features("x", random.normal(size=(2000, 16)).astype("f4")).wait()
    table = database.features("x")
    table.fetch([1, 2])
    loader = loader_of(database, sys.argv[2])
    minibatches = iter(loader)
    next(minibatches)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        sys.exit(7)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 7, status
    assert sum(1 for _ in minibatches) == 4, "the parent goes on"
    loader.close()
    table.close()
"""


@pytest.mark.parametrize("mode", ["planned", "online", "fresh"])
@pytest.mark.parametrize("reader", ["io_uring", "pread"])
def test_a_forked_child_that_exits_does_not_wait_for_its_parents_threads(
    tmp_path: Path, reader: str, mode: str
) -> None:
    skip_without(reader)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROCESS, reader, mode, str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
