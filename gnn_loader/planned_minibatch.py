"""A plan's record as callers see it."""

from outcrop.gnn_loader.format import MinibatchRecord
from outcrop.gnn_loader.plan_layout import PlanLayout
from outcrop.types import AnyArray, Minibatch, SampledLayer


def planned_minibatch(plan: PlanLayout, record: MinibatchRecord, features: dict[str, AnyArray]) -> Minibatch:
    """Return the arrays of a record, and the features that were loaded for it, as the sampler would."""
    node_types = tuple(plan.node_counts)
    is_of_links, is_disjoint = len(record.labels) > 0, any(len(trees) for trees in record.trees)
    return Minibatch(
        epoch=record.epoch,
        batch=record.batch,
        nodes=dict(zip(node_types, record.nodes, strict=True)),
        hop_offsets=dict(zip(node_types, record.hop_offsets, strict=True)),
        layers=tuple(
            SampledLayer(
                layer.hop,
                plan.edge_types[layer.edge_type],
                layer.dst_begin,
                layer.dst_end,
                layer.indptr,
                layer.indices,
                layer.edges if len(layer.edges) == len(layer.indices) else None,
            )
            for layer in record.layers
        ),
        seed_type=node_types[record.seed_type],
        link_src_type=node_types[record.link_src_type],
        seed_rows=record.seed_rows,
        labels=record.labels if is_of_links else None,
        trees=dict(zip(node_types, record.trees, strict=True)) if is_disjoint else None,
        features=features,
    )
