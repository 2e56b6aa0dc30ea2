"""Every example runs, embedded where it can and against a server, and says the same in both places."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.requirements import required
from tests.serving import Served, serving

import outcrop
from outcrop.types import AnyArray

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = EXAMPLES / "node"
MODULES = NODE / "node_modules/@grpc/grpc-js"  # `make node-client` installs it


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "served") as served:
        yield served


def _run(*command: str, folder: Path = EXAMPLES) -> str:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _python(example: str, *arguments: str) -> str:
    return _run(sys.executable, example, *arguments)


def test_search_says_the_same_embedded_and_served(server: Served, tmp_path: Path) -> None:
    embedded, served = (_python("search.py", place) for place in (str(tmp_path / "embedded"), server.url))

    assert embedded.splitlines()[:3] == served.splitlines()[:3]
    assert "3 queries" in served


def test_bulk_build_makes_a_collection_and_builds_it_anew(server: Served, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32))

    first, second = (_python("bulk_build.py", server.url, str(tmp_path / "vectors.npy"), "mine") for _ in range(2))

    assert "3,000 vectors in version 1" in first
    assert "3,000 vectors in version 2" in second


def test_training_against_a_server_has_the_losses_of_embedded_training(server: Served, tmp_path: Path) -> None:
    required("torch", modules=("torch",))

    embedded, served = (_python("train_pytorch.py", place) for place in (str(tmp_path / "embedded"), server.url))

    assert embedded == served
    losses = [float(line.rpartition(" ")[2]) for line in served.splitlines()]
    assert losses[-1] < losses[0] * 0.8


def test_a_client_of_another_language_needs_the_proto_files_alone(server: Served, tmp_path: Path) -> None:
    node = required("node", programs=("node",), files=(MODULES,))
    vectors, features, edges = _generated()
    vectors.tofile(tmp_path / "vectors.f32")
    with outcrop.connect(server.path) as database:
        _store_graph(database, features, edges)

    report = json.loads(
        _run(
            node, "tour.mjs", server.address, "../../proto", str(tmp_path / "vectors.f32"), "16", "x", "p", folder=NODE
        )
    )

    with outcrop.connect(server.path, read_only=True) as database:
        found = database.collection("from-node").search(vectors[:3], k=5, exact=True)
        assert report["ids"] == found.ids.reshape(-1).tolist()
        assert np.array_equal(np.float32(report["distances"]), found.distances.reshape(-1))
        assert report["features"]["shape"] == [3, 8]
        assert np.array_equal(np.float32(report["features"]["rows"]), features[[5, 0, 5]].reshape(-1))
        with database.plan("p") as plan, plan.loader() as loader:
            expected = [next(iter(loader)) for _ in range(3)]
            assert len(report["minibatches"]) == 3
            for there, here in zip(report["minibatches"], expected, strict=True):
                assert (there["epoch"], there["batch"]) == (here.epoch, here.batch)
                assert there["nodes"] == here.nodes["node"].tolist()
                assert there["indices"] == [layer.indices.tolist() for layer in here.layers]
    assert report["missing"] == {"code": 5, "details": "no collection 'nowhere'"}


def _generated(seed: int = 0) -> tuple[AnyArray, AnyArray, AnyArray]:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(2000, 16)).astype("<f4")
    features = rng.normal(size=(500, 8)).astype(np.float32)
    return vectors, features, rng.integers(0, 500, (2, 3000))


def _store_graph(database: Any, features: AnyArray, edges: AnyArray) -> None:
    database.import_graph("g", edges, num_nodes=500).wait()
    database.import_features("x", features).wait()
    seeds = np.arange(200)
    database.create_plan("p", graph="g", features="x", seeds=seeds, fanouts=[4, 3], batch_size=64).wait()
