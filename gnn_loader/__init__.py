"""Which rows does this minibatch need, and where are they?

Graphs and feature tables lie in the storage tier; minibatches are sampled ahead of their use, so the rows that each
will ask for are known, and every tier of memory keeps what will be needed soonest.
"""

from outcrop.gnn_loader.codecs import CODECS, RowCodec
from outcrop.gnn_loader.explain import PlanReport
from outcrop.gnn_loader.features import FeatureStatistics, FeatureTable
from outcrop.gnn_loader.fresh import FreshEpoch, FreshLoader, FreshSource, FreshStatistics
from outcrop.gnn_loader.graph import EdgeStatistics, Graph, GraphStatistics
from outcrop.gnn_loader.imports.sources import (
    ArrayEdges,
    ArrayRows,
    CscEdgeArrays,
    GraphArrays,
    as_graph_source,
    as_row_source,
    homogeneous,
    source_identity,
)
from outcrop.gnn_loader.loader import PlannedLoader
from outcrop.gnn_loader.loader_statistics import LoaderStatistics, StreamCounts
from outcrop.gnn_loader.minibatch import Minibatch, SampledLayer
from outcrop.gnn_loader.online import OnlineLoader
from outcrop.gnn_loader.online_run import OnlineOptions, OnlineStatistics
from outcrop.gnn_loader.plan import Plan
from outcrop.gnn_loader.plan_layout import PlanLayout, PlannedStream
from outcrop.gnn_loader.planning.plan_input import PlanOptions, PlanTable
from outcrop.gnn_loader.planning.planner import Planner
from outcrop.gnn_loader.sampler import NeighborSampler, SamplerOptions, SamplerStatistics
from outcrop.gnn_loader.seeds import EdgeSeeds, NodeSeeds, SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.gnn_loader.verify import PlanProblems

__all__ = [
    "CODECS",
    "ArrayEdges",
    "ArrayGraph",
    "ArrayRows",
    "CscEdgeArrays",
    "EdgeSeeds",
    "EdgeStatistics",
    "FeatureStatistics",
    "FeatureTable",
    "FreshEpoch",
    "FreshLoader",
    "FreshSource",
    "FreshStatistics",
    "Graph",
    "GraphArrays",
    "GraphStatistics",
    "LoaderStatistics",
    "Minibatch",
    "NeighborSampler",
    "NodeSeeds",
    "OnlineLoader",
    "OnlineOptions",
    "OnlineStatistics",
    "Plan",
    "PlanLayout",
    "PlanOptions",
    "PlanProblems",
    "PlanReport",
    "PlanTable",
    "PlannedLoader",
    "PlannedStream",
    "Planner",
    "RowCodec",
    "SampledLayer",
    "SamplerOptions",
    "SamplerStatistics",
    "SeedBatches",
    "StreamCounts",
    "as_graph_source",
    "as_row_source",
    "homogeneous",
    "source_identity",
]
