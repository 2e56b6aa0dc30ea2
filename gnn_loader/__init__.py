"""Which rows does this minibatch need, and where are they?

Graphs and feature tables lie in the storage tier; minibatches are sampled ahead of their use, so the rows that each
will ask for are known, and every tier of memory keeps what will be needed soonest.
"""

from outcrop.gnn_loader.minibatch import Minibatch, SampledLayer
from outcrop.gnn_loader.sampler import NeighborSampler, SamplerOptions
from outcrop.gnn_loader.seeds import EdgeSeeds, NodeSeeds, SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph

__all__ = [
    "ArrayGraph",
    "EdgeSeeds",
    "Minibatch",
    "NeighborSampler",
    "NodeSeeds",
    "SampledLayer",
    "SamplerOptions",
    "SeedBatches",
]
