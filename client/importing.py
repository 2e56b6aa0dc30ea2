"""Graphs, rows and seeds that are here, on their way to a server."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from outcrop.client.job import UPLOAD_SHARE, Control, followed
from outcrop.client.rpcs import features as feature_rpcs
from outcrop.client.rpcs import graphs, plans
from outcrop.client.script import Script
from outcrop.client.uploaded_job import begun_job, uploaded_job
from outcrop.client.uploading import Told, Uploaded, common_id, identity, whole
from outcrop.types import (
    AnyArray,
    ArrayEdges,
    ArrayRows,
    CooEdges,
    EdgeSource,
    EdgeType,
    GraphSource,
    Manifest,
    Progress,
    RowSource,
    VectorRows,
)
from outcrop.v1.graph_pb2 import ImportGraphRequest
from outcrop.v1.plan_pb2 import CreatePlanRequest

_READ_BYTES = 4 << 20
# A message holds 16 MiB; beyond this seeds are uploaded.
_MOST_SEED_BYTES = 8 << 20
_COLUMNS = {"src": "src", "dst": "dst", "weight": "weights", "time": "times", "edge_id": "edge_ids"}


def import_features(name: str, source: RowSource, codec: str, memory_bytes: int, control: Control) -> Script[Manifest]:
    """Upload rows, then store them as a table."""
    logical_dtype = getattr(source, "logical_dtype", None) or ""
    known = _identity(source)
    upload_id = _upload_id("rows", known)
    manifest: Manifest = yield from uploaded_job(
        upload_id,
        common_id("features", [name, upload_id, codec]),
        lambda: [_rows(source)],
        _told([source.num_rows], control),
        lambda job_id: feature_rpcs.import_features(name, upload_id, job_id, codec, memory_bytes, logical_dtype),
        control,
    )
    return manifest


def import_graph(name: str, source: GraphSource, memory_bytes: int, control: Control) -> Script[Manifest]:
    """Upload edges, then store them as a graph."""
    arrays = list(_graph_arrays(source))
    upload_id = _upload_id("edges", _graph_identity(source))
    request = _graph_request(name, source, upload_id, memory_bytes)
    manifest: Manifest = yield from uploaded_job(
        upload_id,
        common_id("graph", [name, upload_id, memory_bytes]),
        lambda: arrays,
        _told([array.num_rows for array in arrays], control),
        lambda job_id: graphs.import_graph(request, job_id),
        control,
    )
    return manifest


def seed_arrays(request: CreatePlanRequest) -> list[Uploaded]:
    """Return the seeds of a plan that are too many for a message, taken out of it; none where it holds them."""
    spec = request.minibatches
    if spec.seeds.ByteSize() <= _MOST_SEED_BYTES:
        return []
    seeds, arrays = plans.taken_seeds(spec)
    digest = [identity(array) for array in arrays.values()]
    seeds.upload_id = common_id("seeds", digest)
    return [whole(name, array) for name, array in arrays.items()]


def begin_plan(request: CreatePlanRequest) -> Script[str]:
    """Begin to make a plan whose seeds are in the message; return the job's id."""
    return (yield from begun_job(plan_job_id(request), lambda job_id: plans.create(request, job_id)))


def create_plan(request: CreatePlanRequest, arrays: Sequence[Uploaded], control: Control) -> Script[Manifest]:
    """Upload seeds, then make a plan."""
    manifest: Manifest = yield from uploaded_job(
        plans.upload_of(request.minibatches),
        plan_job_id(request),
        lambda: arrays,
        _told([array.num_rows for array in arrays], control),
        lambda job_id: plans.create(request, job_id),
        control,
    )
    return manifest


def follow(job_id: str, control: Control) -> Script[Any]:
    """Wait for a job that was begun."""
    return (yield from followed(job_id, control))


def plan_job_id(request: CreatePlanRequest) -> str:
    """Return what is the same for the same plan."""
    return common_id("plan", [request.SerializeToString(deterministic=True).hex()])


# ---- arrays


def _rows(source: RowSource) -> Uploaded:
    row_bytes = int(np.prod(source.row_shape)) * source.dtype.itemsize
    step = max(1, _READ_BYTES // max(1, row_bytes))

    def batches(first_row: int) -> Iterator[AnyArray]:
        if first_row >= source.num_rows:
            yield np.empty((0, *source.row_shape), source.dtype)
        for start in range(first_row, source.num_rows, step):
            yield np.asarray(source.read(start, min(start + step, source.num_rows)))

    return Uploaded("rows", batches, source.num_rows)


def _graph_arrays(source: GraphSource) -> Iterator[Uploaded]:
    for number, edges in enumerate(source.edges.values()):
        yield from _edge_arrays(f"e{number}", edges)
    for name, times in (source.node_times or {}).items():
        yield _sliced(f"node_times.{name}", times)


def _edge_arrays(prefix: str, edges: EdgeSource) -> Iterator[Uploaded]:
    if edges.form == "csc":
        for name, array in edges.csc()._asdict().items():
            if array is not None:
                yield _sliced(f"{prefix}.{name}", array)
        return
    columns = _columns(edges)
    for column in columns:
        array = getattr(edges, column, None) if isinstance(edges, ArrayEdges) else None
        name = f"{prefix}.{_COLUMNS[column]}"
        yield _sliced(name, array) if array is not None else _column(name, edges, column)


def _columns(edges: CooEdges) -> list[str]:
    """What edges have beside their ends: all batches are alike in that."""
    first: Any = edges if isinstance(edges, ArrayEdges) else next(iter(edges.batches()), None)
    return [name for name in _COLUMNS if name in ("src", "dst") or getattr(first, name, None) is not None]


def _column(name: str, edges: CooEdges, column: str) -> Uploaded:
    """One column of edges that come in batches; each column goes through all of them."""

    def batches(first_row: int) -> Iterator[AnyArray]:
        row = 0
        for batch in edges.batches():
            array = getattr(batch, column)
            if row + len(array) > first_row:
                yield array[max(0, first_row - row) :]
            row += len(array)
        if row <= first_row:
            yield np.empty(0, np.float32 if column == "weight" else np.int64)

    return Uploaded(name, batches, edges.num_edges)


def _sliced(name: str, array: Any) -> Uploaded:
    """Whatever has a shape and slices to arrays."""
    if isinstance(array, np.ndarray):
        return whole(name, array)
    num_rows = int(array.shape[0])

    def batches(first_row: int) -> Iterable[AnyArray]:
        step = _READ_BYTES // 8
        for start in range(first_row, num_rows, step):
            yield np.asarray(array[start : min(start + step, num_rows)])
        if first_row >= num_rows:
            yield np.asarray(array[num_rows:])

    return Uploaded(name, batches, num_rows)


def _graph_request(name: str, source: GraphSource, upload_id: str, memory_bytes: int) -> ImportGraphRequest:
    forms: list[tuple[EdgeType, str, bool]] = [
        (edge_type, f"e{number}", edges.form == "csc") for number, (edge_type, edges) in enumerate(source.edges.items())
    ]
    return graphs.import_request(name, source.node_counts, forms, source.node_times or {}, upload_id, memory_bytes)


# ---- identities


def _upload_id(kind: str, known: Any) -> str:
    return common_id(kind, [known if known is not None else secrets.token_hex(16)])


def _graph_identity(source: GraphSource) -> Any:
    parts = [_identity(edges) for edges in source.edges.values()]
    parts += [_identity(times) for times in (source.node_times or {}).values()]
    names = [list(source.node_counts.items()), [list(each) for each in source.edges], sorted(source.node_times or {})]
    return None if None in parts else [names, parts]


def _identity(source: Any) -> Any:
    """A text, or texts, that change when a source does; None where nothing tells."""
    if isinstance(source, np.ndarray):
        return [str(source.dtype), list(source.shape), identity(source)]
    if isinstance(source, ArrayRows):
        return [source.logical_dtype or "", _identity(source.array)]
    if isinstance(source, VectorRows):
        return _identity(source.source)
    if isinstance(source, ArrayEdges):
        return _together(source.src, source.dst, source.weight, source.time, source.edge_id)
    if getattr(source, "form", "") == "csc" and not hasattr(source, "identity"):
        return _together(*source.csc())
    tell: Callable[[], str | None] | None = getattr(source, "identity", None)
    return tell() if tell is not None else identity(source)


def _together(*arrays: Any) -> Any:
    parts = ["none" if array is None else _identity(array) for array in arrays]
    return None if None in parts else parts


def _told(counts: Sequence[int | None], control: Control) -> Told:
    """Progress by rows of all arrays together; an array whose length nobody knows counts when it is there."""
    total = max(1, sum(count or 0 for count in counts))
    there: dict[str, int] = {}

    def told(array: str, rows: int) -> None:
        there[array] = rows
        control.report(Progress("upload", UPLOAD_SHARE * min(1.0, sum(there.values()) / total), None))

    return told
