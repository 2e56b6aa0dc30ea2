"""The memory that was stated is kept: by the accountant's figures, and by what the process really takes."""

import json
import subprocess
import sys

import numpy as np
import pytest

import outcrop
from outcrop.errors import ResourceExhausted

MIB = 1 << 20
ROWS, DIM = 16_000, 128

# Opens and searches under a budget, and prints how much the process has grown, in bytes.
PROCESS = """
import json, sys
import numpy as np, faiss, outcrop, outcrop.embedded

def resident():
    # Memory of its own: pages of libraries that are touched for the first time are not the index's.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon:"))

path, memory, k, nprobe = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
queries = np.load(path + "/../queries.npy")
results = np.zeros(len(queries) * k * 12, np.uint8)  # as large as what search returns
faiss.knn(queries, queries, 3)  # its threads, and their stacks
with outcrop.connect(path, memory=memory, threads=2, reader="pread", read_only=True) as database:
    database.collection("c").info()
    before = resident()
    collection = database.collection("c")
    for _ in range(3):
        found = collection.search(queries, k, nprobe=nprobe)
    print(json.dumps([resident() - before, int(collection.statistics().memory.reserved_bytes)]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """More than 12 MiB of lists and vectors."""
    folder = tmp_path_factory.mktemp("budget")
    random = np.random.default_rng(2)
    centers = random.normal(size=(300, DIM))
    rows = (centers[random.integers(0, 300, ROWS)] + 0.3 * random.normal(size=(ROWS, DIM))).astype(np.float32)
    np.save(folder / "queries.npy", rows[:64])
    with outcrop.connect(folder / "root", threads=2, reader="memory") as database:
        collection = database.create_collection("c", dim=DIM)
        options = {"num_centroids": 300, "copies": 2, "copy_rule": "soar", "calibration_queries": rows[:4]}
        collection.build(rows, code="sq8", **options).wait()
        assert collection.info().disk_bytes > 12 * MIB
    return folder / "root"


def growth_of(root, memory, k, nprobe):
    command = [sys.executable, "-c", PROCESS, str(root), str(memory), str(k), str(nprobe)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_process_grows_by_the_budget_and_little_more(root):
    grown, used = growth_of(root, 3 * MIB, 10, 60)
    print(f"grown by {grown / MIB:.1f} MiB, {used / MIB:.1f} MiB accounted")
    assert used <= 3 * MIB
    assert grown < 3 * MIB + 4 * MIB  # stacks of threads, what the allocator keeps


def test_a_large_k_does_not_multiply_memory_by_the_batch(root):
    grown, _ = growth_of(root, 3 * MIB, 5000, 100)
    results = 64 * 5000 * 12
    print(f"grown by {grown / MIB:.1f} MiB, of which {results / MIB:.1f} MiB are results")
    # Results of two calls, and of one call its parts, live at once.
    assert grown < 2 * results + 3 * MIB + 12 * MIB


@pytest.mark.parametrize("memory", [1 * MIB, 2 * MIB, 4 * MIB, 64 * MIB])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_accountant_never_exceeds_the_budget(root, memory, threads):
    queries = np.load(root.parent / "queries.npy")
    with outcrop.connect(root, memory=memory, threads=threads, reader="pread", read_only=True) as database:
        collection = database.collection("c")
        for _ in range(2):
            collection.search(queries, 10, nprobe=30)
        statistics = collection.statistics()
        assert statistics.memory.budget_bytes == memory
        assert statistics.memory.peak_bytes <= memory
        index = statistics.index
        assert index.cache_bytes <= index.cache_capacity_bytes
        held = index.centroid_bytes + index.directory_bytes + index.buffer_bytes + index.cache_capacity_bytes
        assert held <= statistics.memory.reserved_bytes
        if memory == 64 * MIB:
            collection.clear_cache()
            cold = collection.search(queries, 10, nprobe=30, rerank=0)
            warm = collection.search(queries, 10, nprobe=30, rerank=0)
            assert cold.usage.reads > 0
            assert warm.usage.reads == 0, "all that was read fits in the cache"


def test_a_budget_too_small_says_what_it_needs(root):
    for memory in (1 << 10, 64 << 10, 150 << 10):
        with outcrop.connect(root, memory=memory, reader="pread", read_only=True) as database:
            with pytest.raises(ResourceExhausted) as caught:
                database.collection("c").search(np.zeros(DIM, np.float32))
            text = str(caught.value)
            assert "budget" in text
            assert any(owner in text for owner in ("read buffers", "centroids", "directory", "checksum tables")), text
            # Nothing is half open: the same collection opens when another connection gives it enough.
    with outcrop.connect(root, memory=4 * MIB, read_only=True) as database:
        assert database.collection("c").search(np.zeros(DIM, np.float32), 3).ids.shape == (1, 3)
