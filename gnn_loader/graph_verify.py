"""Is what a graph's files say a graph? Their checksums may be right and their contents wrong all the same."""

from collections.abc import Callable, Iterator

import numpy as np

from outcrop.gnn_loader.graph import Graph
from outcrop.types import CscArrays, EdgeType, Int64Array, row_ranges

_NODES = 1 << 18
_EDGES = 1 << 20

Done = Callable[[int], object]


def graph_problems(graph: Graph, done: Done | None = None) -> Iterator[str]:
    """Yield what is wrong with the arrays of an open graph, the first of each kind and edge type.

    Checked are: offsets ascend, sources are nodes, sources ascend within a column (within equal times where edges have
    times), weights are finite and not below 0. Holds a few dozen megabytes. done: called with the edges looked at.
    """
    before = 0
    for edge_type in graph.edge_types:
        tick = (lambda edges, before=before: done(before + edges)) if done else None
        yield from _edge_problems(graph, edge_type, tick)
        before += graph.num_edges(edge_type)


def _edge_problems(graph: Graph, edge_type: EdgeType, done: Done | None) -> Iterator[str]:
    name, arrays = ":".join(edge_type), graph.csc(edge_type)
    descent = _descent(arrays.indptr)
    if descent is not None:
        yield f"{name}: offset {arrays.indptr[descent + 1]} of node {descent + 1} lies below {arrays.indptr[descent]}"
        return
    found: dict[str, str] = {}
    for start, stop in row_ranges(len(arrays.indices), _EDGES):
        # One edge more, so that each is compared with the one before it.
        first = max(0, start - 1)
        for kind, text in _part_problems(arrays, first, stop, graph.num_nodes(edge_type[0])):
            found.setdefault(kind, f"{name}: {text}")
        if done:
            done(stop)
    yield from found.values()


def _descent(indptr: Int64Array) -> int | None:
    """Return the first node at which the offsets descend."""
    for start, stop in row_ranges(len(indptr) - 1, _NODES):
        descents = np.flatnonzero(np.diff(indptr[start : stop + 1]) < 0)
        if len(descents):
            return start + int(descents[0])
    return None


def _part_problems(arrays: CscArrays, start: int, stop: int, num_sources: int) -> Iterator[tuple[str, str]]:
    sources = arrays.indices[start:stop]
    beyond = np.flatnonzero(sources >= num_sources)
    if len(beyond):
        place = start + int(beyond[0])
        yield "range", f"edge {place}: source {arrays.indices[place]}, expected 0 to {num_sources - 1}"
    weights = None if arrays.weights is None else arrays.weights[start:stop]
    if weights is not None:
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(bad):
            place = start + int(bad[0])
            yield "weight", f"edge {place}: weight {weights[bad[0]]}, expected a finite number, at least 0"
    descends = sources[1:] < sources[:-1]
    if arrays.times is not None:
        times = arrays.times[start:stop]
        descends = (times[1:] < times[:-1]) | ((times[1:] == times[:-1]) & descends)
    descends &= ~_begins_column(arrays.indptr, start + 1, stop)
    if descends.any():
        place = start + 1 + int(np.argmax(descends))
        yield "order", f"edge {place} is out of order: it belongs in front of edge {place - 1} of the same node"


def _begins_column(indptr: Int64Array, start: int, stop: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return of edges [start, stop) whether each is the first of its node, bool."""
    begins = np.zeros(max(0, stop - start), np.bool_)
    low, high = np.searchsorted(indptr, [start, stop])
    begins[indptr[low:high] - start] = True
    return begins
