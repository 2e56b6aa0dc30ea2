"""A minibatch as callers see it, whoever made it: the sampler, a plan's record, a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from outcrop.types.arrays import AnyArray, Float32Array, Int64Array, UInt32Array, UInt64Array
from outcrop.types.graph import EdgeType


@dataclass(frozen=True, slots=True)
class SampledLayer:
    """The edges drawn in one hop along one edge type, by destination.

    Column c is row dst_begin + c of the destination type. indptr: uint32 [dst_end - dst_begin + 1]. indices: uint32
    [num_edges], rows of the source type. edges: uint64 [num_edges], places in the graph's arrays, or None where they
    were not asked for.
    """

    hop: int
    edge_type: EdgeType
    dst_begin: int
    dst_end: int
    indptr: UInt32Array
    indices: UInt32Array
    edges: UInt64Array | None

    @property
    def num_edges(self) -> int:
        """How many edges were drawn."""
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Seeds, the nodes that their sampled neighbourhood wants, the sampled edges and, from a loader, the features.

    nodes: by type, uint32 ids, each once (with disjoint trees once per tree); seeds first, then in order of discovery.
    hop_offsets: by type, uint64 [num_hops + 2]; rows [0, hop_offsets[type][h + 1]) are known before hop h draws.
    layers: by hop, then edge type. trees: by type, the seed, by position, that each row belongs to; None unless trees
    are disjoint. seed_rows: uint32, the row of each seed as given, repetitions included; of links source, destination,
    source, ... labels: float32 by link, 1 given and 0 drawn; None for node seeds. link_src_type: of links, the type of
    the sources; otherwise seed_type.
    features: by table, rows in the order of `nodes` of its type; empty from a sampler.

    Arrays are read-only views of memory that lives as long as any of them.
    """

    epoch: int
    batch: int
    nodes: Mapping[str, UInt32Array]
    hop_offsets: Mapping[str, UInt64Array]
    layers: Sequence[SampledLayer]
    seed_type: str
    link_src_type: str
    seed_rows: UInt32Array
    labels: Float32Array | None
    trees: Mapping[str, UInt32Array] | None
    features: Mapping[str, AnyArray] = field(default_factory=dict)

    @property
    def num_hops(self) -> int:
        """How many times neighbours were drawn."""
        return len(self.hop_offsets[self.seed_type]) - 2

    @property
    def num_edges(self) -> int:
        """How many edges all layers have."""
        return sum(layer.num_edges for layer in self.layers)

    @property
    def seeds(self) -> Int64Array:
        """The ids of the seeds as given: int64 [num_seeds], of links [num_links, 2]."""
        if self.labels is None:
            return self.nodes[self.seed_type][self.seed_rows].astype(np.int64)
        ends = self.seed_rows.reshape(-1, 2)
        sources, destinations = self.nodes[self.link_src_type][ends[:, 0]], self.nodes[self.seed_type][ends[:, 1]]
        return np.stack([sources, destinations], axis=1).astype(np.int64)
