"""Minibatches made by hand, and samplers for a few."""

from typing import Any

import numpy as np
import torch

from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import NODE_TO_NODE, EdgeType, Minibatch


def layer(hop: int, dst_begin: int, columns: list[list[int]], edge_type: EdgeType = NODE_TO_NODE) -> TensorLayer:
    """Return the layer whose columns, from dst_begin on, have these sources; edges are numbered from 100 * hop."""
    indptr = np.cumsum([0, *(len(column) for column in columns)])
    indices = np.array([row for column in columns for row in column], dtype=np.int32)
    tensors = torch.from_numpy(indptr.astype(np.int32)), torch.from_numpy(indices)
    edges = 100 * hop + torch.arange(len(indices))
    return TensorLayer(hop, edge_type, dst_begin, dst_begin + len(columns), *tensors, edges)


def newcomers(graph: ArrayGraph, fanouts: Any = (4, 3), **options: Any) -> NeighborSampler:
    return NeighborSampler(graph, fanouts, expand="newcomers", keep_edges=True, **options)


def numbered(num_rows: int, dim: int = 3) -> torch.Tensor:
    """Rows that say which they are."""
    return torch.arange(num_rows, dtype=torch.float32)[:, None] + torch.arange(dim) / 8


def planned(sampler: NeighborSampler, batches: SeedBatches, tables: dict[str, torch.Tensor]) -> list[Minibatch]:
    """What a loader yields: minibatches with features."""

    def with_features(minibatch: Minibatch) -> Minibatch:
        types = {name: name.partition("/")[0] if name not in ("x", "anything") else "node" for name in tables}
        rows = {name: table[minibatch.nodes[types[name]].astype(np.int64)].numpy() for name, table in tables.items()}
        return Minibatch(**{**{f: getattr(minibatch, f) for f in Minibatch.__slots__}, "features": rows})

    return [with_features(minibatch) for minibatch in sampler.sample_many(batches)]
