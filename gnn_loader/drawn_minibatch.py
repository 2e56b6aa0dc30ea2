"""A minibatch that the core drew, as callers see it."""

from collections.abc import Sequence

from outcrop import native
from outcrop.types import EdgeType, Minibatch, SampledLayer


def drawn_minibatch(
    drawn: native.SampledMinibatch, node_types: Sequence[str], edge_types: Sequence[EdgeType]
) -> Minibatch:
    """Return views of what the core drew. node_types, edge_types: the graph's, in its order."""
    labels, trees = drawn.labels, drawn.trees
    is_of_links = len(labels) > 0
    return Minibatch(
        epoch=drawn.epoch,
        batch=drawn.batch,
        nodes=dict(zip(node_types, drawn.nodes, strict=True)),
        hop_offsets=dict(zip(node_types, drawn.hop_offsets, strict=True)),
        layers=tuple(_layer(drawn, number, edge_types) for number in range(drawn.num_layers)),
        seed_type=node_types[drawn.seed_type],
        link_src_type=node_types[drawn.link_src_type],
        seed_rows=drawn.seed_rows,
        labels=labels if is_of_links else None,
        trees=dict(zip(node_types, trees, strict=True)) if trees else None,
    )


def _layer(drawn: native.SampledMinibatch, number: int, edge_types: Sequence[EdgeType]) -> SampledLayer:
    edge_type, hop, dst_begin, dst_end, indptr, indices, edges = drawn.layer(number)
    asked = len(edges) == len(indices)
    return SampledLayer(hop, edge_types[edge_type], dst_begin, dst_end, indptr, indices, edges if asked else None)
