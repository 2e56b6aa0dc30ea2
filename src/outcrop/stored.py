"""Verifying what a root holds beside collections: graphs, feature tables, plans."""

from collections.abc import Callable

from outcrop.connection import Connection
from outcrop.errors import CorruptFile, InvalidArgument
from outcrop.gnn_loader import FeatureTable, Graph, Plan
from outcrop.gnn_loader.graph_verify import graph_problems
from outcrop.store import Accountant, Problem, StorageReader, VersionLease, verify_version
from outcrop.types import STORED_KINDS, Progress, StoredReport

_BUFFER_BYTES = 1 << 20


def verify_stored(
    connection: Connection, kind: str, name: str, memory_bytes: int, report: Callable[[Progress], object]
) -> StoredReport:
    """See `Database.verify`."""
    if kind not in STORED_KINDS:
        raise InvalidArgument(f"kind: expected one of {', '.join(STORED_KINDS)}, found {kind!r}")
    record = connection.root.get(kind, name)
    try:
        lease = connection.root.open_version(record.id)
    except CorruptFile as error:
        return StoredReport(kind, name, None, 0, 0, False, (Problem("version", None, str(error)),))
    with lease:
        manifest = lease.manifest
        total = max(1, manifest.size_bytes)
        with StorageReader(Accountant(memory_bytes), connection.reader, buffer_bytes=_BUFFER_BYTES) as reader:
            tick = lambda done: report(Progress("checksums", 0.5 * done / total, None))  # noqa: E731
            problems = list(verify_version(lease, reader, tick))
        checked = not problems and not (kind == "plans" and _is_stale(connection, name, lease))
        if checked:
            again = connection.root.open_version(record.id, manifest.version)
            problems = _contents(connection, kind, name, again, memory_bytes, report)
        size_bytes = manifest.size_bytes
        return StoredReport(kind, name, manifest.version, len(manifest.files), size_bytes, checked, tuple(problems))


def _contents(
    connection: Connection,
    kind: str,
    name: str,
    lease: VersionLease,
    memory_bytes: int,
    report: Callable[[Progress], object],
) -> list[Problem]:
    """Open what the lease holds, which then takes the lease over, and look at what it says."""
    memory = Accountant(memory_bytes)
    try:
        if kind == "plans":
            with Plan(connection.root, name, lease, connection.reader) as plan:
                return list(plan.verify_rows(memory_bytes=memory_bytes).problems)
        if kind == "features":
            FeatureTable.open(lease, memory, connection.reader).close()
            return []
        with Graph.open(lease, memory, "map", connection.reader) as graph:
            total = max(1, graph.num_edges())
            tick = lambda done: report(Progress("edges", 0.5 + 0.5 * done / total, None))  # noqa: E731
            return [Problem("version", None, text) for text in graph_problems(graph, tick)]
    except CorruptFile as error:
        return [Problem("version", None, str(error))]


def _is_stale(connection: Connection, name: str, lease: VersionLease) -> bool:
    """Whether a plan's rows can be compared with nothing, since its tables have changed."""
    try:
        Plan(connection.root, name, lease, connection.reader).check_current()
    except InvalidArgument:
        return True
    return False
