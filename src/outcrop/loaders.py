"""Loaders that need no finished plan: online ones, and ones that plan each epoch while the one before it trains."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from outcrop.connection import Connection
from outcrop.gnn_loader import (
    FreshLoader,
    FreshSource,
    NeighborSampler,
    OnlineLoader,
    OnlineOptions,
    PlanOptions,
    SeedBatches,
)
from outcrop.graphs import open_graph
from outcrop.plans import as_seeds, open_tables
from outcrop.types import Fanouts


def open_online(
    connection: Connection,
    graph_name: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    options: OnlineOptions,
    sampling: Mapping[str, Any],
) -> OnlineLoader:
    """See `Database.online_loader`. batches: of `SeedBatches`. sampling: of `NeighborSampler`."""
    if options.scratch_folder is None and os.access(connection.root.path, os.W_OK):
        options = replace(options, scratch_folder=connection.root.path)
    with contextlib.ExitStack() as stack:
        graph = stack.enter_context(open_graph(connection, graph_name, connection.memory_bytes, "auto"))
        tables = open_tables(connection, graph, features, stack)
        return OnlineLoader(
            NeighborSampler(graph, fanouts, **sampling),
            SeedBatches(as_seeds(seeds, graph), **batches),
            {planned.name: planned.table for planned in tables.values()},
            node_types={planned.name: node_type for node_type, planned in tables.items()},
            options=options,
            owned=stack.pop_all(),
        )


def open_fresh(
    connection: Connection,
    name: str,
    graph_name: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    options: PlanOptions,
    sampling: Mapping[str, Any],
    loading: Mapping[str, Any],
) -> FreshLoader:
    """See `Database.fresh_loader`. loading: of `FreshLoader`."""
    with contextlib.ExitStack() as stack:
        graph = stack.enter_context(open_graph(connection, graph_name, connection.memory_bytes, "auto"))
        source = FreshSource(
            graph_name,
            graph,
            open_tables(connection, graph, features, stack),
            NeighborSampler(graph, fanouts, **sampling),
            SeedBatches(as_seeds(seeds, graph), **batches),
        )
        return FreshLoader(
            connection.root, name, source, options, reader=connection.reader, owned=stack.pop_all(), **loading
        )
