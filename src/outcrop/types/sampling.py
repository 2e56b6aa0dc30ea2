"""How neighbours are drawn, and how much was."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from outcrop.types.graph import EdgeType

# Edges per node and hop: the same for all edge types, or by type, where types left out are not followed. -1: all.
Fanouts = Sequence[int] | Sequence[Mapping[EdgeType, int]] | Mapping[EdgeType, Sequence[int]]
Labor = Literal["off", "per_hop", "shared"]
Temporal = Literal["off", "uniform", "last"]
Expand = Literal["all", "newcomers"]


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """How neighbours are drawn. With the graph and the seeds it fixes every minibatch.

    fanouts: [hop][edge type]. replace: with repetitions, exactly fan-out many wherever there is any edge.
    weighted: by edge weight, where the edge type has some; weight 0 is never drawn; without `replace` one after the
    other (successive sampling). labor: columns share one random number per source node, so that they agree on sources
    and fewer nodes are wanted (LABOR-0, Balin and Catalyurek 2023, with exactly fan-out edges); shared: also in every
    hop. temporal: only edges no younger than the seed, of those any or the last ones; edges and nodes of types without
    times always qualify. disjoint: a tree of its own for each seed.
    expand: "all": every node known so far draws anew in each hop (DGL's blocks); "newcomers": each node draws once
    (PyG). keep_edges: say which edges of the graph were drawn.
    """

    fanouts: tuple[tuple[int, ...], ...]
    seed: int = 0
    replace: bool = False
    weighted: bool = False
    labor: Labor = "off"
    temporal: Temporal = "off"
    disjoint: bool = False
    expand: Expand = "all"
    keep_edges: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return all of it in JSON's types, as a plan's fingerprint wants it."""
        return {**asdict(self), "fanouts": [list(hop) for hop in self.fanouts]}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> "SamplerOptions":
        """Return the options that `as_json` wrote."""
        return SamplerOptions(**{**fields, "fanouts": tuple(tuple(hop) for hop in fields["fanouts"])})


@dataclass(frozen=True, slots=True)
class SamplerStatistics:
    """What a sampler has drawn. scratch_bytes: kept for the next minibatches, per thread that has sampled; it follows
    the largest minibatch, not the graph."""

    minibatches: int
    rows: int
    edges: int
    scratch_bytes: int
