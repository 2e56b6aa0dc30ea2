"""Which rows will be asked for often, when nobody knows yet by which minibatch?

Scores are for rows whose next use lies beyond what is known: the higher one is kept. Where minibatches were sampled,
their counts are best; reverse PageRank and degrees need the graph only.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, EdgeType, Int64Array

Scores = npt.NDArray[np.float64]

# Edges that are looked at in one go: their temporary arrays are 24 bytes each.
_CHUNK_EDGES = 1 << 22


def access_counts(requests: Iterable[npt.NDArray[np.uint32]], num_rows: int) -> Int64Array:
    """Return int64 [num_rows]: how often each row is asked for. requests: uint32 [n] each, rows once in each."""
    counts = np.zeros(num_rows, np.int64)
    for keys in requests:
        counts[keys] += 1
    return counts


def degrees(indptr: AnyArray, indices: AnyArray, num_sources: int) -> tuple[Int64Array, Int64Array]:
    """Return the in-degrees, int64 [num_destinations], and the out-degrees, int64 [num_sources], of a CSC graph.

    A row is asked for when it is drawn as a neighbour, so its out-degree says how many may draw it.
    """
    out_degrees = np.zeros(num_sources, np.int64)
    for start in range(0, len(indices), _CHUNK_EDGES):
        out_degrees += np.bincount(indices[start : start + _CHUNK_EDGES], minlength=num_sources)
    return np.diff(np.asarray(indptr)).astype(np.int64), out_degrees


def reverse_pagerank(
    edges: Mapping[EdgeType, tuple[AnyArray, AnyArray]],
    node_counts: Mapping[str, int],
    *,
    seeds: Mapping[str, npt.NDArray[np.integer]] | None = None,
    damping: float = 0.85,
    iterations: int = 10,
) -> dict[str, Scores]:
    """Return float64 [num_nodes] for each node type: where a walk against the edges is, that begins at the seeds.

    That is what sampling does, from a node to one that it has an edge from; LSM-GNN (arXiv 2407.15264) ranks by it.
    edges: indptr and indices, CSC, of each edge type; a node's in-edges of all types are equally likely. seeds: ids by
    type, where walks begin, and begin again when they find no in-edge; by default all nodes. The scores of all types
    add up to 1. Raises InvalidArgument.
    """
    if not 0 <= damping < 1:
        raise InvalidArgument(f"damping: expected at least 0 and less than 1, found {damping}")
    start = _start(node_counts, seeds)
    in_degrees = {name: np.zeros(count, np.int64) for name, count in node_counts.items()}
    for (_, _, dst), (indptr, _) in edges.items():
        in_degrees[dst] += np.diff(indptr)
    scores = start
    for _ in range(iterations):
        # Leaving a node without in-edges divides 0 by 1: nothing.
        shares = {name: damping * scores[name] / np.maximum(1, in_degrees[name]) for name in node_counts}
        moved = {name: np.zeros(count) for name, count in node_counts.items()}
        for (src, _, dst), (indptr, indices) in edges.items():
            for sources, columns in _chunks(indptr, indices):
                moved[src] += np.bincount(sources, weights=shares[dst][columns], minlength=node_counts[src])
        begun = 1.0 - sum(float(part.sum()) for part in moved.values())
        scores = {name: moved[name] + begun * start[name] for name in node_counts}
    return scores


def _start(node_counts: Mapping[str, int], seeds: Mapping[str, npt.NDArray[np.integer]] | None) -> dict[str, Scores]:
    weights = {name: np.full(count, float(seeds is None)) for name, count in node_counts.items()}
    for name, ids in (seeds or {}).items():
        if len(ids) and not 0 <= ids.min() <= ids.max() < node_counts[name]:
            raise InvalidArgument(f"seeds of {name!r}: expected ids from 0 to {node_counts[name] - 1}, found others")
        weights[name][ids] = 1.0
    total = sum(float(part.sum()) for part in weights.values())
    if total == 0:
        raise InvalidArgument("reverse PageRank: expected at least one node or seed to begin at, found none")
    return {name: part / total for name, part in weights.items()}


def _chunks(indptr: AnyArray, indices: AnyArray) -> Iterator[tuple[AnyArray, Int64Array]]:
    """Yield the sources and the destinations of edges, a bounded number at a time."""
    for first in range(0, len(indices), _CHUNK_EDGES):
        last = min(len(indices), first + _CHUNK_EDGES)
        begin, end = np.searchsorted(indptr, [first, last - 1], side="right") - 1
        ends = np.minimum(indptr[begin + 1 : end + 2], last)
        counts = np.diff(np.concatenate(([first], ends)))
        yield indices[first:last], np.repeat(np.arange(begin, end + 1), counts)


def ranked(scores: AnyArray) -> npt.NDArray[np.uint16]:
    """Return uint16 [n] in the order of `scores` (any numbers [n]), as `native.NextUseCache.set_scores` wants them.

    Of more than 65,536 different scores neighbours become one. Raises InvalidArgument when one is not a number.
    """
    if np.isnan(scores).any():
        raise InvalidArgument(f"scores[{int(np.flatnonzero(np.isnan(scores))[0])}]: expected a number, found NaN")
    different, place = np.unique(scores, return_inverse=True)
    return (place * 65536 // max(65536, len(different))).astype(np.uint16)
