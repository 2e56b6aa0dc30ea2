"""Random edges, and what becomes of them by NumPy alone."""

import numpy as np

from outcrop.gnn_loader import ArrayEdges, CscEdgeArrays
from outcrop.types import CscArrays

EXTRAS = {"weight": np.float32, "time": np.int64, "edge_id": np.int64}
COLUMNS = {"weight": "weights", "time": "times", "edge_id": "edge_ids"}


def random_edges(rng, num_src, num_dst, num_edges, extras=(), times=3):
    """Edges with a hub, and with repeated pairs."""
    src, dst = rng.integers(0, num_src, num_edges), rng.integers(0, num_dst, num_edges)
    dst[: num_edges // 4] = num_dst // 2
    src[: num_edges // 8] = num_src // 3
    made = {"weight": rng.random(num_edges, np.float32), "time": rng.integers(-times, times, num_edges),
            "edge_id": rng.permutation(num_edges)}  # fmt: skip
    return ArrayEdges(src, dst, **{name: made[name] for name in extras})


def expected_csc(edges, num_dst):
    """The same edges by destination, time, source, by NumPy alone."""
    keys = (edges.src, edges.dst) if edges.time is None else (edges.src, edges.time, edges.dst)
    order = np.lexsort(keys)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(edges.dst, minlength=num_dst))])
    columns = [None if c is None else np.asarray(c)[order] for c in (edges.weight, edges.time, edges.edge_id)]
    return CscArrays(indptr, edges.src[order], *columns)


def unsorted_csc(edges, num_dst, rng):
    """The same edges by destination, in any order within each column."""
    order = rng.permutation(len(edges.src))
    order = order[np.argsort(edges.dst[order], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(edges.dst, minlength=num_dst))])
    columns = [None if c is None else np.asarray(c)[order] for c in (edges.weight, edges.time, edges.edge_id)]
    return CscEdgeArrays(CscArrays(indptr, edges.src[order], *columns))


def rows_by_key(arrays):
    """Edges as tuples, those that differ only in what no order is promised for sorted as well."""
    columns = [np.repeat(np.arange(len(arrays.indptr) - 1), np.diff(arrays.indptr))]
    columns += [c for c in (arrays.times, arrays.indices, arrays.weights, arrays.edge_ids) if c is not None]
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def check(found, expected):
    assert np.array_equal(found.indptr, expected.indptr)
    assert np.array_equal(found.indices, expected.indices)
    for name in ("weights", "times", "edge_ids"):
        assert (getattr(found, name) is None) == (getattr(expected, name) is None)
    if expected.times is not None:
        assert np.array_equal(found.times, expected.times)
    assert rows_by_key(found) == rows_by_key(expected)
