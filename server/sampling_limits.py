"""What a caller may ask to be drawn: a few numbers decide how much memory and time sampling takes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import Graph
from outcrop.types import EdgeSeeds, NodeSeeds

_MOST_HOPS = 32
# Further ahead nobody looks; each is a minibatch that is held, or drawn before the first one is given out.
_MOST_AHEAD = 1024
_MOST_POSITION = 1 << 48
# Of a drawn edge, with what is kept to find its ends: indices, edge ids, and a node that it may bring.
_EDGE_BYTES = 24


def check_ahead(position: int, **counts: int) -> None:
    """Raise InvalidArgument for a position that no loader reaches, and for counts of minibatches that are too many."""
    if position > _MOST_POSITION:
        raise InvalidArgument(f"position: expected at most {_MOST_POSITION}, found {position}")
    for name, count in counts.items():
        if count > _MOST_AHEAD:
            raise InvalidArgument(f"{name}: expected at most {_MOST_AHEAD}, found {count}")


def most_sampled_bytes(graph: Graph, ends: int, fanouts: Any, sampling: Mapping[str, Any]) -> int:
    """Return what a minibatch takes at most. ends: see `num_ends`. fanouts, sampling: as `Graph.sample` has them.

    Raises InvalidArgument for more hops than make sense.
    """
    if len(fanouts) > _MOST_HOPS:
        raise InvalidArgument(f"fanouts: expected at most {_MOST_HOPS} hops, found {len(fanouts)}")
    trees = sampling["disjoint"] or sampling["temporal"] != "off"
    most_edges, most_nodes = graph.num_edges(), graph.num_nodes()
    nodes, edges = ends, 0
    for hop in fanouts:
        counts = list(hop.values()) if isinstance(hop, Mapping) else [hop] * len(graph.edge_types)
        everything = nodes * most_edges if trees else most_edges
        drawn = sum(everything if count < 0 else nodes * count for count in counts)
        if not trees and not sampling["replace"]:
            drawn = min(drawn, most_edges)
        edges += drawn
        nodes = nodes + drawn if trees else min(nodes + drawn, most_nodes)
    return (nodes + edges) * _EDGE_BYTES


def num_ends(seeds: Any, most: int | None = None) -> int:
    """Return how many nodes seeds name, those of drawn links included. most: seeds that count."""
    if not isinstance(seeds, NodeSeeds | EdgeSeeds):
        return int(np.size(seeds))
    count = len(seeds) if most is None else min(most, len(seeds))
    return count if isinstance(seeds, NodeSeeds) else 2 * count * (1 + seeds.negatives)
