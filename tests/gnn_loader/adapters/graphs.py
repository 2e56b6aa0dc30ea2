"""Small graphs in memory for the adapters' tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import outcrop
from outcrop.gnn_loader import Graph
from outcrop.gnn_loader.adapters.stored_table import StoredTable
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NODE_TO_NODE, CscArrays, EdgeType, Float32Array, Int64Array

WRITES: EdgeType = ("author", "writes", "paper")
CITES: EdgeType = ("paper", "cites", "paper")
WRITTEN_BY: EdgeType = ("paper", "written_by", "author")


def random_csc(rng: np.random.Generator, num_src: int, num_dst: int, max_degree: int) -> CscArrays:
    """Return edges into each destination from distinct sources, with shuffled ids."""
    columns = [
        np.sort(rng.choice(num_src, min(num_src, rng.integers(0, max_degree + 1)), replace=False))
        for _ in range(num_dst)
    ]
    indptr = np.cumsum([0, *(len(column) for column in columns)])
    return CscArrays(indptr, np.concatenate(columns), edge_ids=rng.permutation(indptr[-1]))


def random_graph(seed: int, num_nodes: int = 200, max_degree: int = 12) -> ArrayGraph:
    """Return a homogeneous graph whose edge ids are not their places."""
    csc = random_csc(np.random.default_rng(seed), num_nodes, num_nodes, max_degree)
    homogeneous = ArrayGraph.homogeneous(csc.indptr, csc.indices)
    [edge_type] = homogeneous.edge_types
    return ArrayGraph.of({"node": num_nodes}, {edge_type: csc})


def papers(seed: int) -> ArrayGraph:
    """Return a graph of authors and papers."""
    rng = np.random.default_rng(seed)
    edges = {
        WRITES: random_csc(rng, 40, 100, 3),
        CITES: random_csc(rng, 100, 100, 6),
        WRITTEN_BY: random_csc(rng, 100, 40, 5),
    }
    return ArrayGraph.of({"author": 40, "paper": 100}, edges)


def edge_set(graph: ArrayGraph, edge_type: EdgeType) -> dict[int, tuple[int, int]]:
    """Return (source, destination) by edge id."""
    arrays = graph.csc(edge_type)
    dst = np.repeat(np.arange(len(arrays.indptr) - 1), np.diff(arrays.indptr))
    ids = np.arange(len(dst)) if arrays.edge_ids is None else arrays.edge_ids
    return {int(i): (int(s), int(d)) for i, s, d in zip(ids, arrays.indices, dst, strict=True)}


def communities(seed: int, num_nodes: int) -> tuple[ArrayGraph, Float32Array, Int64Array]:
    """Return a graph, features and classes 0 and 1; neighbours tell the classes apart much better than features do."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_nodes)
    groups = [np.flatnonzero(labels == c) for c in (0, 1)]
    indices = np.concatenate([np.sort(rng.choice(groups[c], 8, replace=False)) for c in labels])
    x = labels[:, None] * 0.5 + rng.normal(size=(num_nodes, 4))
    return ArrayGraph.homogeneous(np.arange(0, 8 * num_nodes + 1, 8), indices), x.astype(np.float32), labels


@contextmanager
def stored_communities(root: Path) -> Iterator[tuple[Graph, StoredTable, Int64Array]]:
    """Yield `communities` of 600 nodes as a stored graph, a stored table, and labels."""
    arrays, x, labels = communities(0, 600)
    csc = arrays.csc(NODE_TO_NODE)
    with outcrop.connect(root) as database:
        database.import_graph("g", (csc.indptr, csc.indices)).wait()
        database.import_features("x", x).wait()
        with database.graph("g") as graph, StoredTable(root, "x") as table:
            yield graph, table, labels
