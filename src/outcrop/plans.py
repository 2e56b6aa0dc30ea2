"""Plans of a root: making them, opening what was made."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from outcrop.connection import Connection
from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument
from outcrop.gnn_loader import (
    EdgeSeeds,
    FeatureTable,
    Graph,
    NeighborSampler,
    NodeSeeds,
    Plan,
    Planner,
    PlanOptions,
    PlanTable,
)
from outcrop.gnn_loader.planning.trace import Epochs
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.graphs import open_features, open_graph
from outcrop.jobs import Job
from outcrop.store import Manifest, ObjectRecord
from outcrop.types import KINDS, Fanouts, Progress, Seeds, check_name


def plan_making(
    connection: Connection,
    name: str,
    graph_name: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    epochs: tuple[int, int],
    options: PlanOptions,
    sampling: Mapping[str, Any],
) -> Job[Manifest]:
    """See `Database.create_plan`. batches: of `SeedBatches`. epochs: the first and how many. sampling: of
    `NeighborSampler`."""
    planner, held = _planner(
        connection, "auto", graph_name, features, seeds, fanouts, batches, epochs, options, sampling
    )
    with held:
        record = _record(connection, name)
        held = held.pop_all()

    def run(report: Callable[[Progress], None]) -> Manifest:
        with held, connection.root.begin_version(record.id, planner.job_id(record.id)) as writer:
            try:
                manifest = planner.run(writer, report)
            except (InvalidArgument, CorruptFile):
                writer.abort()  # the same call would only fail again
                raise
        connection.forget_jobs(record.id)
        connection.root.gc()
        report(Progress("done", 1.0, 0.0))
        return manifest

    return Job(f"plan {name}", run)


def check_plan(
    connection: Connection,
    name: str,
    graph_name: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    epochs: tuple[int, int],
    options: PlanOptions,
    sampling: Mapping[str, Any],
) -> None:
    """Raise what `plan_making` would raise of these arguments before any work."""
    check_name(KINDS["plans"], name)
    _, held = _planner(connection, "map", graph_name, features, seeds, fanouts, batches, epochs, options, sampling)
    held.close()


def open_plan(connection: Connection, name: str) -> Plan:
    """See `Database.plan`."""
    lease = connection.root.open_version(connection.root.get("plans", name).id)
    with contextlib.ExitStack() as undo:
        undo.enter_context(lease)
        plan = Plan(connection.root, name, lease, connection.reader)
        plan.check_current()
        undo.pop_all()
    return plan


def as_seeds(seeds: Any, graph: Graph) -> Seeds:
    """Return seeds as they are, or ids as seeds of the graph's only node type. Raises InvalidArgument."""
    if isinstance(seeds, NodeSeeds | EdgeSeeds):
        return seeds
    node_type = _only_type(graph, "seeds: pass NodeSeeds(ids, node_type) or EdgeSeeds(pairs, edge_type)")
    return NodeSeeds(seeds, node_type)


def open_tables(
    connection: Connection, graph: Graph, features: str | Mapping[str, str], stack: contextlib.ExitStack
) -> dict[str, PlanTable]:
    """Open the tables of a graph's node types, by type; `stack` closes them. Raises InvalidArgument, NotFound."""
    opener = lambda name: stack.enter_context(open_features(connection, name, connection.memory_bytes))  # noqa: E731
    return tables_by_type(graph, features, opener)


def tables_by_type(
    graph: Graph, features: str | Mapping[str, str], opener: Callable[[str], FeatureTable]
) -> dict[str, PlanTable]:
    """Return the tables of a graph's node types, by type, each opened by its name. Raises InvalidArgument."""
    if isinstance(features, str):
        features = {_only_type(graph, "features: pass {node type: name of its table}"): features}
    if len(set(features.values())) < len(features):
        raise InvalidArgument(f"features: expected a table of its own for each node type, found {dict(features)}")
    return {node_type: PlanTable(name, opener(name)) for node_type, name in features.items()}


def _planner(
    connection: Connection,
    placement: str,
    graph_name: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    epochs: tuple[int, int],
    options: PlanOptions,
    sampling: Mapping[str, Any],
) -> tuple[Planner, contextlib.ExitStack]:
    """A planner, and what holds open what it reads."""
    with contextlib.ExitStack() as stack:
        graph = stack.enter_context(open_graph(connection, graph_name, connection.memory_bytes, placement))
        tables = open_tables(connection, graph, features, stack)
        sampler = NeighborSampler(graph, fanouts, **sampling)
        planned = Epochs(SeedBatches(as_seeds(seeds, graph), **batches), *epochs)
        planner = Planner(graph_name, graph, tables, sampler, planned, options, connection.reader)
        return planner, stack.pop_all()


def _only_type(graph: Graph, instead: str) -> str:
    if len(graph.node_types) != 1:
        raise InvalidArgument(f"{instead}; the graph has node types {', '.join(graph.node_types)}")
    return next(iter(graph.node_types))


def _record(connection: Connection, name: str) -> ObjectRecord:
    with contextlib.suppress(AlreadyExists):
        return connection.root.create("plans", name, {})
    return connection.root.get("plans", name)
