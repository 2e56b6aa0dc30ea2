"""What is served, and who serves it: a root with vectors and features, and servers in processes of their own."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import outcrop
from outcrop.datasets.vectors import open_vectors
from outcrop.proto.tensors import to_tensor
from outcrop.types import AnyArray
from outcrop.v1 import vector_pb2 as pb

HERE = Path(__file__).parent
COLLECTION, TABLE = "vectors", "rows"
SEARCH = "/outcrop.v1.VectorService/Search"
SMALL = {
    "num_vectors": 4000,
    "dim": 16,
    "num_clusters": 40,
    "num_queries": 100,
    "feature_rows": 5000,
    "streamed_rows": 5000,
    "clients": [1, 4],
    "rates": [0.5],
    "rounds": 1,
    "seconds": 0.3,
    "warm_seconds": 0.1,
}


@dataclass(frozen=True)
class Workload:
    """See workload.json. rates: of the open load, as shares of what 32 clients reached."""

    num_vectors: int
    dim: int
    num_clusters: int
    num_queries: int
    k: int
    feature_rows: int
    feature_dim: int
    streamed_rows: int
    clients: list[int]
    rates: list[float]
    rounds: int
    seconds: float
    warm_seconds: float

    @staticmethod
    def load(small: bool) -> Workload:
        """Return what the file says, or something that takes seconds."""
        return Workload(**json.loads((HERE / "workload.json").read_text()) | (SMALL if small else {}))


@dataclass(frozen=True)
class Served:
    """What is asked. queries: [n, dim], which are not in the collection."""

    root: Path
    queries: AnyArray
    k: int

    def request(self, start: int, count: int = 1) -> bytes:
        """Return a serialized SearchRequest."""
        return pb.SearchRequest(
            collection=COLLECTION, k=self.k, queries=to_tensor(self.queries[start : start + count])
        ).SerializeToString()

    def write_requests(self, path: Path, count: int = 1) -> Path:
        """Write requests of `count` queries each as load.py reads them."""
        places = range(0, len(self.queries) - count + 1, count)
        rows = [np.frombuffer(self.request(place, count), np.uint8) for place in places]
        np.save(path, np.stack(rows))
        return path


def prepare(workload: Workload, root: Path, vectors: Path | None, memory: str) -> Served:
    """Make the root unless it is there. vectors: a file of real ones, the last of which are the queries."""
    rows, queries = _read(vectors, workload.num_queries) if vectors else _make(workload)
    with outcrop.connect(root, memory=memory) as database:
        if COLLECTION not in database.collection_names():
            made = database.create_collection(COLLECTION, dim=rows.shape[1], dtype=str(rows.dtype))
            made.build(rows, memory="1GiB").wait()
        if TABLE not in database.feature_names():
            shape = workload.feature_rows, workload.feature_dim
            database.import_features(TABLE, np.random.default_rng(3).random(shape, np.float32)).wait()
    return Served(root, queries, workload.k)


def twin(root: Path) -> Path:
    """Return a copy of a root beside it: one root has one server."""
    copy = root.with_name(f"{root.name}-twin")
    if not copy.exists():
        shutil.copytree(root, copy)
    return copy


def _read(path: Path, num_queries: int) -> tuple[AnyArray, AnyArray]:
    with contextlib.closing(open_vectors(path)) as source:
        rows = source.read(0, source.num_rows)
    return rows[:-num_queries], rows[-num_queries:]


def _make(workload: Workload) -> tuple[AnyArray, AnyArray]:
    random = np.random.default_rng(1)
    centres = random.standard_normal((workload.num_clusters, workload.dim), np.float32)
    total = workload.num_vectors + workload.num_queries
    rows = centres[random.integers(0, workload.num_clusters, total)]
    rows += 0.5 * random.standard_normal(rows.shape, np.float32)
    return rows[: workload.num_vectors], rows[workload.num_vectors :]


@contextlib.contextmanager
def bare_peer(response_bytes: int) -> Iterator[str]:
    """The address of a server that does nothing."""
    command = [sys.executable, str(HERE / "peers.py"), str(response_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def run_load(address: str, requests: Path, path: str = SEARCH, **load: Any) -> dict[str, Any]:
    """Return what a load in a process of its own found."""
    given = {"address": address, "path": path, "requests": str(requests), **load}
    command = [sys.executable, str(HERE / "load.py"), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"load.py: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
