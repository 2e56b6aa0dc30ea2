"""An import takes the memory that was stated, whatever the size of its source."""

import json
import subprocess
import sys

import numpy as np
import pytest

MIB = 1 << 20
NODES, EDGES = 100_000, 2_000_000

# Imports under a budget and prints by how much the process has grown at most, in bytes.
PROCESS = """
import json, sys, threading
import numpy as np, outcrop, outcrop.embedded
from outcrop.gnn_loader import ArrayEdges, CscEdgeArrays, homogeneous
from outcrop.types import CscArrays

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))

folder, what, memory = sys.argv[1], sys.argv[2], int(sys.argv[3])
load = lambda name: np.load(f"{folder}/{name}.npy", mmap_mode="r")
if what == "coo":
    source = homogeneous(ArrayEdges(load("src"), load("dst"), load("weight"), load("time")), len(load("indptr")) - 1)
elif what == "csc":
    arrays = CscArrays(load("indptr"), load("src"), load("weight"), load("time"))
    source = homogeneous(CscEdgeArrays(arrays), len(load("indptr")) - 1)
with outcrop.connect(folder + "/root-" + what) as database:
    database.import_features("warm", np.ones((10, 3), np.float32), codec="int8").wait()
    database.import_graph("warm", np.ones((2, 10), int), memory=1 << 20).wait()
    before, most, done = resident(), 0, threading.Event()
    def watch():
        global most
        while not done.wait(0.002):
            most = max(most, resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    if what in ("coo", "csc"):
        database.import_graph("g", source, memory=memory).wait()
    else:
        database.import_features("x", load("rows"), codec=what, memory=memory).wait()
    done.set()
    watcher.join()
    print(json.dumps(most - before))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import-budget")
    rng = np.random.default_rng(3)
    dst = np.sort((NODES * rng.random(EDGES) ** 3).astype(np.int64))  # a power law: the first nodes are hubs
    indptr = np.searchsorted(dst, np.arange(NODES + 1))
    order = {"src": rng.integers(0, NODES, EDGES), "dst": rng.permutation(dst), "indptr": indptr}
    extras = {"weight": rng.random(EDGES, np.float32), "time": rng.integers(0, 1000, EDGES)}
    for name, array in {**order, **extras, "rows": rng.normal(size=(40_000, 256)).astype(np.float32)}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.mark.parametrize("what", ["coo", "csc", "raw", "int8"])
@pytest.mark.parametrize("memory", [8 * MIB, 32 * MIB])
def test_an_import_grows_by_its_budget_and_little_more(folder, what, memory):
    command = [sys.executable, "-c", PROCESS, str(folder), what, str(memory)]
    grown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{what}: grown by {grown / MIB:.1f} MiB of {memory / MIB:.0f}")

    # Buffers of the writers (1 MiB for each file), a window of indptr, what the allocator keeps.
    assert grown < memory + 16 * MIB
