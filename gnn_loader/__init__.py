"""Which rows does this minibatch need, and where are they?

Graphs and feature tables lie in the storage tier; minibatches are sampled ahead of their use, so the rows that each
will ask for are known, and every tier of memory keeps what will be needed soonest.
"""

from outcrop.gnn_loader.codecs import CODECS, RowCodec
from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.fresh import FreshLoader, FreshSource
from outcrop.gnn_loader.graph import Graph
from outcrop.gnn_loader.imports.identity import source_identity
from outcrop.gnn_loader.loader import PlannedLoader
from outcrop.gnn_loader.online import OnlineLoader
from outcrop.gnn_loader.plan import Plan
from outcrop.gnn_loader.plan_layout import PlanLayout, PlannedStream
from outcrop.gnn_loader.plan_origin import is_carried, plan_origins, with_origins
from outcrop.gnn_loader.planning.plan_input import PlanOptions, PlanTable
from outcrop.gnn_loader.planning.planner import Planner
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import (
    ArrayEdges,
    ArrayRows,
    CscEdgeArrays,
    EdgeSeeds,
    EdgeStatistics,
    FeatureStatistics,
    FreshEpoch,
    FreshStatistics,
    GraphArrays,
    GraphStatistics,
    LoaderStatistics,
    Minibatch,
    NodeSeeds,
    OnlineOptions,
    OnlineStatistics,
    PlanProblems,
    PlanReport,
    SampledLayer,
    SamplerOptions,
    SamplerStatistics,
    StreamCounts,
    as_graph_source,
    as_row_source,
    homogeneous,
)

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
    "is_carried",
    "plan_origins",
    "source_identity",
    "with_origins",
]
