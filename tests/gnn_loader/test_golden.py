"""Graphs and feature tables of format version 1 are read, and written, as their pages say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from outcrop.gnn_loader import ArrayEdges, FeatureTable, Graph, GraphArrays
from outcrop.store import Accountant, BlockWriter

GOLDEN = Path(__file__).parents[1] / "golden"
WRITES = ("author", "writes", "paper")


@pytest.fixture(scope="module")
def made():
    """The script that made the files, for what they stand for."""
    spec = importlib.util.spec_from_file_location("make_graph_v1", GOLDEN / "make_graph_v1.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def graph():
    return json.loads((GOLDEN / "graph_v1.json").read_text())


@pytest.fixture
def features():
    return json.loads((GOLDEN / "features_v1.json").read_text())


def committed(database, kind, properties, files):
    """Commit a version of block files with these kinds and payloads; return a lease on it."""
    root = database.connection.root
    record = root.create(kind, "golden", {})
    with root.begin_version(record.id) as writer:
        entries = []
        for name, (file_kind, payload) in files.items():
            with BlockWriter(writer.folder / name, file_kind) as file:
                file.append(bytes.fromhex(payload))
                entries.append(file.finish())
        writer.commit(entries, properties)
    return root.open_version(record.id)


def payload_of(lease, name):
    size = {entry.name: entry for entry in lease.manifest.files}[name].size_bytes
    data = lease.path(name).read_bytes()
    assert len(data) == size
    return data[4096 : 4096 + int.from_bytes(data[32:40], "little")]


@pytest.mark.parametrize("placement", ["memory", "map"])
def test_the_golden_graph_is_read(database, graph, placement):
    lease = committed(database, "graphs", graph["properties"], graph["files"])

    with Graph.open(lease, Accountant(1 << 24), placement) as found:
        assert found.node_types == {"paper": 2, "author": 3}
        assert found.edge_types == [WRITES]
        columns = [column.tolist() for column in found.csc(WRITES)]
        assert columns == [[0, 1, 4], [1, 0, 1, 2], [0, 0.25, 1, 0.5], [-5, 10, 10, 30], [10, 8, 9, 7]]
        assert found.node_times("author").tolist() == [1, 2, 3]


def test_an_import_writes_the_golden_graph(database, graph, made):
    author, paper, weight, time, number = (np.array(column) for column in zip(*made.EDGES, strict=True))
    edges = ArrayEdges(author, paper, weight, time, number)
    source = GraphArrays({"paper": 2, "author": 3}, {WRITES: edges}, {"author": np.array([1, 2, 3])})

    manifest = database.import_graph("g", source).wait()

    assert manifest.properties == graph["properties"]
    assert {entry.name: entry.kind for entry in manifest.files} == {n: f[0] for n, f in graph["files"].items()}
    with database.connection.root.open_version(manifest.object_id) as lease:
        for name, (_, payload) in graph["files"].items():
            assert payload_of(lease, name).hex() == payload, name


@pytest.mark.parametrize("codec", ["raw", "float16", "bfloat16", "int8"])
def test_golden_rows_are_read(database, features, made, codec):
    golden = features[codec]
    lease = committed(database, "features", golden["properties"], {"rows.blk": ["rows", golden["payload"]]})

    with FeatureTable.open(lease, Accountant(1 << 24)) as table:
        found = table.fetch([0, 1, 2])

    assert found.dtype == np.float32
    step = np.array([2 / 127, 0, 2]) if codec == "int8" else np.zeros(3)
    assert (np.abs(found - np.array(made.ROWS)) <= step[:, None] / 2 + 1e-6).all()


@pytest.mark.parametrize("codec", ["raw", "float16", "bfloat16", "int8"])
def test_an_import_writes_golden_rows(database, features, made, codec):
    manifest = database.import_features("x", np.array(made.ROWS, np.float32), codec=codec).wait()

    assert manifest.properties == features[codec]["properties"]
    with database.connection.root.open_version(manifest.object_id) as lease:
        assert payload_of(lease, "rows.blk").hex() == features[codec]["payload"]
