"""A process that imports versions of a graph and of its features until it is killed. Run by test_import_killed.py.

Version n is made from n alone. It prints what it begins and what is there.
"""

import sys

import numpy as np

import outcrop
from outcrop.gnn_loader import ArrayEdges, ArrayRows, GraphArrays
from outcrop.gnn_loader.imports import feature_import

NODES, EDGES, DIM = 20_000, 300_000, 700
TYPES = {("node", "a", "node"): "src", ("node", "b", "node"): "dst"}


def graph_of(version: int) -> GraphArrays:
    """Two edge types: the second is the first turned around. Weights tell the version."""
    rng = np.random.default_rng(version)
    src, dst = rng.integers(0, NODES, (2, EDGES))
    weight = np.full(EDGES, version, np.float32)
    there, back = TYPES
    return GraphArrays({"node": NODES}, {there: ArrayEdges(src, dst, weight), back: ArrayEdges(dst, src, weight)})


def rows_of(version: int) -> np.ndarray:
    """Row r begins with r; all others tell the version."""
    rows = np.full((NODES // 4, DIM), version, np.float32)
    rows[:, 0] = np.arange(len(rows))
    return rows


def main(path: str) -> None:
    feature_import._CHECKPOINT_BYTES = 1 << 20
    with outcrop.connect(path) as database:
        print("ready", flush=True)
        while True:
            for kind in ("graphs", "features"):
                record = next(iter(database.connection.root.list_objects(kind)), None)
                version = 1 + ((record.current_version or 0) if record else 0)
                print("begun", kind, version, flush=True)
                if kind == "graphs":
                    job = database.import_graph("x", graph_of(version), memory="4MiB")
                else:
                    job = database.import_features("x", ArrayRows(rows_of(version)), memory="1MiB")
                job.wait()
                print("there", kind, version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
