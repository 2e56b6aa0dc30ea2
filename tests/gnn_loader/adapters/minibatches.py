"""Minibatches made by hand."""

import numpy as np
import torch

from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer
from outcrop.types import NODE_TO_NODE, EdgeType


def layer(hop: int, dst_begin: int, columns: list[list[int]], edge_type: EdgeType = NODE_TO_NODE) -> TensorLayer:
    """Return the layer whose columns, from dst_begin on, have these sources; edges are numbered from 100 * hop."""
    indptr = np.cumsum([0, *(len(column) for column in columns)])
    indices = np.array([row for column in columns for row in column], dtype=np.int32)
    tensors = torch.from_numpy(indptr.astype(np.int32)), torch.from_numpy(indices)
    edges = 100 * hop + torch.arange(len(indices))
    return TensorLayer(hop, edge_type, dst_begin, dst_begin + len(columns), *tensors, edges)
