"""An online loader takes the memory that was stated, and the buffers of the minibatches it has given out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import outcrop

MIB = 1 << 20
NODES, DEGREE, ROW_BYTES = 60_000, 8, 1000

# Goes through an epoch and prints by how much the process has grown at most, in bytes, and what buffers held of that.
PROCESS = """
import json, sys, threading
import numpy as np, outcrop
from outcrop.gnn_loader import OnlineOptions

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))

root, memory, scratch = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "disk"
def epoch(seeds, memory):
    options = OnlineOptions(cache_memory=memory, victim_disk=None if scratch else 0)
    with database.online_loader(
        graph="g", features="x", seeds=seeds, fanouts=[6, 5], batch_size=512, options=options
    ) as loader:
        for _ in loader:
            pass
        found = loader.statistics()
        return found.buffer_bytes, found.tiers["x"].rows

with outcrop.connect(root, threads=1) as database:
    epoch(np.arange(10), 8 << 20)
    before, most, done = resident(), 0, threading.Event()
    def watch():
        global most
        while not done.wait(0.002):
            most = max(most, resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    buffer_bytes, rows = epoch(np.arange(0, 60_000, 4), memory)
    done.set()
    watcher.join()
    print(json.dumps([most - before, buffer_bytes, rows]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("online-budget") / "root"
    chance = np.random.default_rng(3)
    with outcrop.connect(root) as database:
        sources = (chance.random(NODES * DEGREE) ** 2 * NODES).astype(np.int64)
        database.import_graph("g", (np.arange(0, NODES * DEGREE + 1, DEGREE), sources)).wait()
        database.import_features("x", chance.integers(0, 256, (NODES, ROW_BYTES), dtype=np.uint8)).wait()
    return root


@pytest.mark.parametrize(("memory", "scratch"), [(8 * MIB, "none"), (24 * MIB, "none"), (24 * MIB, "disk")])
def test_an_epoch_grows_by_its_budget_and_its_buffers(root: Path, memory: int, scratch: str) -> None:
    command = [sys.executable, "-c", PROCESS, str(root), str(memory), scratch]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    grown, buffer_bytes, rows = json.loads(output)
    print(f"grown by {grown / MIB:.1f} MiB of {memory / MIB:.0f} and {buffer_bytes / MIB:.1f} of buffers")

    assert rows * ROW_BYTES > 4 * (memory + buffer_bytes)
    # 8 MiB of read buffers, the graph's arrays (2.3 MiB), the window's minibatches, what the allocator keeps.
    assert grown < memory + buffer_bytes + 24 * MIB
