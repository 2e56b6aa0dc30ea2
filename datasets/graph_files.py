"""A graph whose edges lie in files, and what can be done to edges before they are imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types import CooEdges, CscEdges, EdgeBatch, EdgeType


class FileEdges(Protocol):
    """Edges of a file, which can be read one by one whatever their order is."""

    @property
    def num_edges(self) -> int | None:
        """How many, where the file tells."""
        ...

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield all edges."""
        ...

    def identity(self) -> str:
        """Return a text that changes when a file does."""
        ...


@dataclass(frozen=True, slots=True)
class GraphFiles:
    """A GraphSource. format: of its files. node_times: arrays int64 [num_nodes] of some types."""

    format: str
    node_counts: Mapping[str, int]
    edges: Mapping[EdgeType, CooEdges | CscEdges]
    node_times: Mapping[str, Any] | None = None


class BothDirections:
    """Every edge and its reverse, which bears the same weight, time and id; a CooEdges."""

    def __init__(self, edges: FileEdges) -> None:
        self._edges = edges

    @property
    def form(self) -> Literal["coo"]:
        """Any order."""
        return "coo"

    @property
    def num_edges(self) -> int | None:
        """Twice those of the file."""
        return None if self._edges.num_edges is None else 2 * self._edges.num_edges

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield a batch, then its reverse, and so on."""
        for batch in self._edges.batches():
            yield batch
            yield EdgeBatch(batch.dst, batch.src, batch.weight, batch.time, batch.edge_id)

    def identity(self) -> str:
        """Return a text that changes when a file does."""
        return f"both directions {self._edges.identity()}"


def both_directions(graph: GraphFiles) -> GraphFiles:
    """Return the graph with every edge also reversed. Raises InvalidArgument for edges between different types."""
    for source, relation, destination in graph.edges:
        if source != destination:
            name = ":".join((source, relation, destination))
            raise InvalidArgument(f"{name}: edges between different types have no reverse of the same type")
    edges: dict[EdgeType, CooEdges | CscEdges] = {
        name: BothDirections(_file_edges(found)) for name, found in graph.edges.items()
    }
    return GraphFiles(graph.format, graph.node_counts, edges, graph.node_times)


def count_nodes(
    edges: Mapping[EdgeType, CooEdges | CscEdges], known: Mapping[str, int], asked: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Return how many nodes each type has that an edge names: as asked, or known of files, or else one more than the
    largest id, for which all edges are read once.

    Raises InvalidArgument when what is asked contradicts a file, or is asked of a type that no edge has.
    """
    types = list(dict.fromkeys(name for source, _, destination in edges for name in (source, destination)))
    counts = {**{name: known[name] for name in types if name in known}, **known}
    for name, count in (asked or {}).items():
        if name not in types and name not in known:
            raise InvalidArgument(f"nodes {name}={count}: there is no such type, found {', '.join(types)}")
        if known.get(name, count) != count:
            raise InvalidArgument(f"nodes {name}={count}: its files say {known[name]}")
        counts[name] = count
    missing = [name for name in types if name not in counts]
    if missing:
        counts |= _largest_ids(edges, missing)
    return {name: counts[name] for name in (*types, *(name for name in counts if name not in types))}


def _largest_ids(edges: Mapping[EdgeType, CooEdges | CscEdges], types: list[str]) -> dict[str, int]:
    counts = dict.fromkeys(types, 0)
    for (source, _, destination), found in edges.items():
        if source not in counts and destination not in counts:
            continue
        for batch in _file_edges(found).batches():
            for name, ids in ((source, batch.src), (destination, batch.dst)):
                if name in counts and len(ids):
                    counts[name] = max(counts[name], int(np.max(ids)) + 1)
    return counts


def _file_edges(edges: Any) -> FileEdges:
    """All edges of this package can be read one by one."""
    found: FileEdges = edges
    return found
