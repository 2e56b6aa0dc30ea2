"""A snapshot that is downloaded while clients search and new versions are made, and whose server is killed meanwhile,
is restored elsewhere to the bit."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving import serving

import outcrop
from outcrop.client import Database, parse_endpoint, snapshot_jobs
from outcrop.errors import Cancelled, Unavailable

NODES, DIM = 6_000, 256
SEEDS = np.arange(0, NODES, 37)


def rows_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((NODES, DIM)).astype(np.float32)


def fill(path: Path, seed: int) -> None:
    """A version of everything, made from the seed."""
    edges = np.random.default_rng(seed).integers(0, NODES, (2, 10 * NODES))
    with outcrop.connect(path, threads=1, memory="64MiB") as database:
        known = "docs" in database.collection_names()
        collection = database.collection("docs") if known else database.create_collection("docs", dim=DIM)
        collection.build(rows_of(seed), memory="64MiB", num_centroids=64).wait()
        database.import_graph("web", edges, num_nodes=NODES).wait()
        database.import_features("web", rows_of(seed)).wait()
        plan = {"graph": "web", "features": "web", "seeds": SEEDS, "fanouts": [4, 4], "batch_size": 64}
        database.create_plan("train", cache_memory="1MiB", **plan).wait()


def everything(path: Path) -> list[Any]:
    """What users see of all objects."""
    with outcrop.connect(path, threads=1, memory="64MiB") as database:
        found = database.collection("docs").search(rows_of(1)[:200], k=10)
        with database.graph("web") as graph:
            csc = graph.csc(next(iter(graph.edge_types)))
            edges = (csc.indptr.tobytes(), csc.indices.tobytes())
        with database.features("web") as table:
            rows = table.fetch(np.arange(NODES)).tobytes()
        with database.plan("train") as plan, plan.loader() as loader:
            minibatches = [(batch.nodes["node"].tobytes(), batch.features["web"].tobytes()) for batch in loader]
    return [found.ids.tobytes(), found.distances.tobytes(), edges, rows, minibatches]


@contextlib.contextmanager
def searching(url: str, num_clients: int = 3) -> Iterator[list[int]]:
    """Clients that search all the time; yields how many answers each has had. While no server is there they wait."""
    ended, answers = threading.Event(), [0] * num_clients

    def search(number: int) -> None:
        with Database(parse_endpoint(url, timeout=30)) as database:
            queries = rows_of(2)[:4]
            while not ended.is_set():
                with contextlib.suppress(Unavailable, Cancelled):
                    answers[number] += len(database.collection("docs").search(queries, k=10).ids) == 4

    threads = [threading.Thread(target=search, args=(number,)) for number in range(num_clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.crash
def test_a_download_under_load_across_a_killed_server_restores_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_jobs, "_SEGMENT_BYTES", 64 << 10)
    root, target = tmp_path / "root", tmp_path / "monday.snapshot"
    fill(root, seed=1)
    expected = everything(root)
    with (
        serving(root, threads=1, memory="64MiB") as first,
        Database(parse_endpoint(first.url)) as database,
        searching(first.url) as answers,
    ):
        database.create_snapshot("monday")
        job = database.export_snapshot("monday", target)
        while job.progress.fraction < 0.3:
            time.sleep(0.001)
        first.kill()
        assert not job.done
        fill(root, seed=2)  # new versions of all, and what was current is garbage but for the snapshot
        before = list(answers)
        with serving(root, threads=1, memory="64MiB", listen=first.address):
            job.wait(timeout=120)
            while not all(now > then for now, then in zip(answers, before, strict=True)):
                time.sleep(0.01)
    assert everything(root) != expected
    with outcrop.connect(tmp_path / "elsewhere") as other:
        assert other.verify_snapshot(target).wait().problems == ()
        other.restore_snapshot(target).wait()
    assert everything(tmp_path / "elsewhere") == expected
    with outcrop.connect(root) as database:
        database.restore_snapshot("monday").wait()
    assert everything(root) == expected
