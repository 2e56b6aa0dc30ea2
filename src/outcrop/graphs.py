"""Graphs and feature tables of a root: importing them, opening what was imported."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import Any

from outcrop.connection import Connection
from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument
from outcrop.gnn_loader import FeatureTable, Graph, as_graph_source, as_row_source, source_identity
from outcrop.gnn_loader.imports.feature_import import import_features
from outcrop.gnn_loader.imports.graph_import import import_graph
from outcrop.jobs import Job
from outcrop.store import Accountant, Manifest, ObjectRecord, VersionWriter
from outcrop.types import Progress

_Import = Callable[[VersionWriter, Callable[[Progress], None]], Manifest]


def graph_import(
    connection: Connection, name: str, source: Any, num_nodes: int | None, memory_bytes: int
) -> Job[Manifest]:
    """See `Database.import_graph`."""
    graph = as_graph_source(source, num_nodes)
    identity = source_identity(graph)
    work: _Import = lambda writer, report: import_graph(writer, graph, memory_bytes, report)  # noqa: E731
    return _start(connection, _record(connection, "graphs", name), [identity, memory_bytes], work)


def feature_import(connection: Connection, name: str, source: Any, codec: str, memory_bytes: int) -> Job[Manifest]:
    """See `Database.import_features`."""
    rows = as_row_source(source)
    identity = source_identity(rows)
    work: _Import = lambda writer, report: import_features(writer, rows, codec, memory_bytes, report)  # noqa: E731
    return _start(connection, _record(connection, "features", name), [identity, codec], work)


def open_graph(connection: Connection, name: str, memory_bytes: int, placement: str) -> Graph:
    """See `Database.graph`."""
    lease = connection.root.open_version(connection.root.get("graphs", name).id)
    return Graph.open(lease, Accountant(memory_bytes), placement, connection.reader, name)


def open_features(connection: Connection, name: str, memory_bytes: int) -> FeatureTable:
    """See `Database.features`."""
    lease = connection.root.open_version(connection.root.get("features", name).id)
    return FeatureTable.open(lease, Accountant(memory_bytes), connection.reader, name)


def _record(connection: Connection, kind: str, name: str) -> ObjectRecord:
    with contextlib.suppress(AlreadyExists):
        return connection.root.create(kind, name, {})
    return connection.root.get(kind, name)


def _start(connection: Connection, record: ObjectRecord, arguments: list[Any], work: _Import) -> Job[Manifest]:
    """Start an import. It can be resumed under the same arguments where its source says what it is."""
    digest = hashlib.sha256(json.dumps(arguments).encode()).hexdigest()
    job_id = None if arguments[0] is None else f"import-{record.id}-{digest[:16]}"

    def run(report: Callable[[Progress], None]) -> Manifest:
        with connection.root.begin_version(record.id, job_id) as writer:
            try:
                manifest = work(writer, report)
            except (InvalidArgument, CorruptFile):
                writer.abort()  # the same call would only fail again
                raise
        connection.forget_jobs(record.id)
        connection.root.gc()
        report(Progress("done", 1.0, 0.0))
        return manifest

    return Job(f"import of {record.name}", run)
