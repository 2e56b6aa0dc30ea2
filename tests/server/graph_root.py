"""A root with graphs, tables and a plan, for tests of what is served of them."""

from pathlib import Path

import numpy as np
from tests.gnn_loader.adapters.graphs import communities, papers

import outcrop
from outcrop.embedded import Database
from outcrop.gnn_loader import CscEdgeArrays, GraphArrays
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import AnyArray, Minibatch

NUM_NODES = 600
FANOUTS = [4, 3]
PLAN = {"graph": "g", "features": "x", "fanouts": FANOUTS, "batch_size": 64, "seed": 7, "cache_memory": 20 << 10}


def train_seeds() -> AnyArray:
    return np.arange(0, NUM_NODES, 2)


def make_root(path: Path) -> None:
    """g: a graph of communities with table x (and its int8 twin xq) and plans p (1 shard) and q (2 shards); h: one of
    authors and papers with tables a and b."""
    graph, features, _ = communities(5, NUM_NODES)
    with outcrop.connect(path, memory="64MiB") as database:
        import_graph(database, "g", graph)
        database.import_features("x", features).wait()
        database.import_features("xq", features, codec="int8").wait()
        for name, shards in (("p", 1), ("q", 2)):
            database.create_plan(name, **PLAN, seeds=train_seeds(), epochs=2, num_shards=shards).wait()
        mixed = papers(3)
        import_graph(database, "h", mixed)
        rng = np.random.default_rng(1)
        database.import_features("a", rng.random((40, 3), np.float32)).wait()
        database.import_features("b", rng.integers(0, 9, (100, 2, 2), dtype=np.int16)).wait()


def import_graph(database: Database, name: str, graph: ArrayGraph) -> None:
    edges = {edge_type: CscEdgeArrays(graph.csc(edge_type)) for edge_type in graph.edge_types}
    database.import_graph(name, GraphArrays(graph.node_types, edges)).wait()


def same_minibatch(found: Minibatch, expected: Minibatch) -> None:
    """Compare every array of two minibatches."""
    for name in ("epoch", "batch", "seed_type", "link_src_type"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("nodes", "hop_offsets", "trees", "features"):
        _same_arrays(getattr(found, name), getattr(expected, name))
    _same_arrays(
        {"rows": found.seed_rows, "labels": found.labels}, {"rows": expected.seed_rows, "labels": expected.labels}
    )
    assert len(found.layers) == len(expected.layers)
    for layer, wanted in zip(found.layers, expected.layers, strict=True):
        assert (layer.hop, layer.edge_type, layer.dst_begin, layer.dst_end) == (
            wanted.hop,
            wanted.edge_type,
            wanted.dst_begin,
            wanted.dst_end,
        )
        arrays = [{name: getattr(each, name) for name in ("indptr", "indices", "edges")} for each in (layer, wanted)]
        _same_arrays(*arrays)


def _same_arrays(found: dict[str, AnyArray] | None, expected: dict[str, AnyArray] | None) -> None:
    if expected is None or found is None:
        assert found is expected
        return
    assert list(found) == list(expected)
    for name, array in expected.items():
        if array is None:
            assert found[name] is None
        else:
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
