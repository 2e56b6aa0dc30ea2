"""Making a plan takes the memory that was stated, whatever the size of its table and log."""

import json
import subprocess
import sys

import numpy as np
import pytest

import outcrop

MIB = 1 << 20
NODES, DEGREE, ROW_BYTES = 60_000, 8, 1000

# Makes a plan under a budget and prints by how much the process has grown at most, in bytes, and the size of the log.
PROCESS = """
import json, sys, threading
import numpy as np, outcrop

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))

root, memory, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def make(name, seeds, epochs):
    arguments = {"graph": "g", "features": "x", "fanouts": [6, 5], "batch_size": 512, "cache_memory": 4_000_000}
    job = database.create_plan(name, seeds=seeds, epochs=epochs, pack_memory=memory, **arguments)
    return job.wait().properties["streams"][0]["log_bytes"]

with outcrop.connect(root, threads=1) as database:
    make("warm", np.arange(10), 1)
    before, most, done = resident(), 0, threading.Event()
    def watch():
        global most
        while not done.wait(0.002):
            most = max(most, resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    log_bytes = make("plan", np.arange(0, 60_000, 4), epochs)
    done.set()
    watcher.join()
    print(json.dumps([most - before, log_bytes]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("plan-budget") / "root"
    chance = np.random.default_rng(3)
    with outcrop.connect(root) as database:
        sources = (chance.random(NODES * DEGREE) ** 2 * NODES).astype(np.int64)
        database.import_graph("g", (np.arange(0, NODES * DEGREE + 1, DEGREE), sources)).wait()
        database.import_features("x", chance.integers(0, 256, (NODES, ROW_BYTES), dtype=np.uint8)).wait()
    return root


@pytest.mark.parametrize(("memory", "epochs"), [(16 * MIB, 1), (48 * MIB, 1), (16 * MIB, 2)])
def test_making_a_plan_grows_by_its_budget_and_little_more(root, memory, epochs):
    command = [sys.executable, "-c", PROCESS, str(root), str(memory), str(epochs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    grown, log_bytes = json.loads(output)
    print(f"grown by {grown / MIB:.1f} MiB of {memory / MIB:.0f}, log of {log_bytes / MIB:.0f} MiB")

    assert log_bytes > 4 * memory
    # The graph's arrays (2.3 MiB), one minibatch, buffers of the writers, what the allocator keeps.
    assert grown < memory + 24 * MIB
