"""FeatureService: tables of feature rows."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import CODECS, ArrayRows, FeatureTable, RowCodec
from outcrop.proto.chunks import blank_message, bytes_of, chunk_ranges, serialize_parts
from outcrop.proto.documents import to_document
from outcrop.proto.tensors import from_tensor, to_tensor, wire_dtype
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.jobs import Jobs
from outcrop.server.work import Work, budget
from outcrop.stop import Stop
from outcrop.store import Manifest, ObjectRecord
from outcrop.types import KINDS, AnyArray, check_name, row_ranges
from outcrop.v1 import feature_pb2 as pb

# Rows that are read together: merging their reads, and changing threads, is worth it.
_GROUP_BYTES = 4 << 20
# Of a unary response beside the rows.
_OVERHEAD_BYTES = 4096


class FeatureService:
    """See proto/outcrop/v1/feature.proto."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        jobs.register("import_features", pb.ImportFeaturesRequest, self._import)
        self._most_bytes = engine.settings.limits.message - _OVERHEAD_BYTES

    async def import_features(self, request: pb.ImportFeaturesRequest, call: Call) -> pb.ImportFeaturesResponse:
        """Make a job of storing uploaded rows."""
        job = await self._jobs.submit(request, call, lambda: self._check(request))
        return pb.ImportFeaturesResponse(job=job)

    async def get_features(self, request: pb.GetFeaturesRequest, call: Call) -> pb.GetFeaturesResponse:
        """Return what a table is."""
        return pb.GetFeaturesResponse(table=await call.run(self._described, request.name))

    async def list_features(self, request: pb.ListFeaturesRequest, call: Call) -> pb.ListFeaturesResponse:
        """Return those that the caller may see, by name."""
        names = await call.run(self._engine.database.feature_names)
        seen = [name for name in names if call.identity.sees("features", name)]
        return pb.ListFeaturesResponse(tables=await call.run(lambda: list(map(self._described, seen))))

    async def delete_features(self, request: pb.DeleteFeaturesRequest, call: Call) -> pb.DeleteFeaturesResponse:
        """Drop a table."""
        await call.run(self._engine.drop, "features", request.name)
        return pb.DeleteFeaturesResponse()

    async def read_features(self, request: pb.ReadFeaturesRequest, call: Call) -> pb.ReadFeaturesResponse:
        """Return a few rows."""
        return await call.run(self._read, request, call.stop)

    async def stream_features(self, request: pb.StreamFeaturesRequest, call: Call) -> AsyncIterator[bytes]:
        """Yield many rows, read in groups by a thread that is ahead of what is sent."""
        async for messages in call.each(self._messages(request, call.stop)):
            for message in messages:
                yield message

    def _check(self, request: pb.ImportFeaturesRequest) -> None:
        check_name(KINDS["features"], request.name)
        if (request.codec or "raw") not in CODECS:
            raise InvalidArgument(f"codec: expected {', '.join(CODECS)}; found {request.codec!r}")
        budget(self._engine.settings.jobs, request.memory_bytes)

    def _import(self, request: pb.ImportFeaturesRequest, work: Work) -> Manifest:
        rows = ArrayRows(work.upload(request.upload_id).array("rows"), request.logical_dtype or None)
        memory = work.memory_bytes(request.memory_bytes)
        database = self._engine.database
        return work.follow(database.import_features(request.name, rows, codec=request.codec or "raw", memory=memory))

    def _described(self, name: str) -> pb.FeatureTable:
        record = self._engine.opened.record("features", name)
        message = _message(record, self._engine.manifest(record))
        message.statistics.CopyFrom(to_document(self._engine.opened.table_statistics(record.id, message.version)))
        return message

    def _read(self, request: pb.ReadFeaturesRequest, stop: Stop) -> pb.ReadFeaturesResponse:
        ids = from_tensor(request.ids, "ids")
        version = request.version if request.HasField("version") else None
        with self._engine.opened.table(request.name, request.id, version) as table:
            size_bytes = ids.size * _row_bytes(table, request.coded)
            if size_bytes > self._most_bytes:
                raise InvalidArgument(
                    f"ids: {ids.size} rows are {size_bytes} bytes, expected at most {self._most_bytes} in one message; "
                    "StreamFeatures has no such limit"
                )
            rows = table.fetch(ids, decode=not request.coded, stop=stop)
            return pb.ReadFeaturesResponse(version=table.manifest.version, rows=to_tensor(rows))

    def _messages(self, request: pb.StreamFeaturesRequest, stop: Stop) -> Iterator[list[bytes]]:
        version = request.version if request.HasField("version") else None
        with self._engine.opened.table(request.name, request.id, version) as table:
            wanted = _wanted(request, table)
            dtype, row_shape = _layout(table, request.coded)
            header = pb.FeatureStreamHeader(
                version=table.manifest.version, dtype=wire_dtype(dtype), shape=(len(wanted), *row_shape)
            )
            yield [pb.StreamFeaturesResponse(header=header).SerializeToString()]
            if isinstance(wanted, range) and (request.coded or table.codec.name == "raw"):
                yield from _stored(table, wanted, stop)
            else:
                yield from _fetched(table, wanted, request.coded, stop)


def _stored(table: FeatureTable, rows: range, stop: Stop) -> Iterator[list[bytes]]:
    """Messages whose data are read to their place: consecutive rows lie as they are sent."""
    head, row_bytes = pb.StreamFeaturesResponse(), table.row_bytes
    for start, end in row_ranges(len(rows), max(1, _GROUP_BYTES // row_bytes)):
        blank = [blank_message(head, b - a) for a, b in chunk_ranges((end - start) * row_bytes)]
        table.read_stored(rows.start + start, [data for _, data in blank], stop)
        yield [message for message, _ in blank]


def _fetched(table: FeatureTable, wanted: "AnyArray | range", coded: bool, stop: Stop) -> Iterator[list[bytes]]:
    dtype, row_shape = _layout(table, coded)
    group_rows = max(1, _GROUP_BYTES // max(1, _row_bytes(table, coded)))
    out = np.empty((min(group_rows, len(wanted)), *row_shape), dtype)
    for start, end in row_ranges(len(wanted), group_rows):
        rows = out[: end - start]
        table.fetch(np.asarray(wanted[start:end]), rows, not coded, stop=stop)
        yield _chunks(rows)


def _wanted(request: pb.StreamFeaturesRequest, table: FeatureTable) -> "AnyArray | range":
    if not request.HasField("range"):
        ids = from_tensor(request.ids, "ids")
        if ids.ndim != 1:
            raise InvalidArgument(f"ids: expected integers [n], found {ids.dtype} {list(ids.shape)}")
        return ids
    start, stop = request.range.start, request.range.stop
    if not 0 <= start <= stop <= table.num_rows:
        raise InvalidArgument(f"range: expected 0 <= start <= stop <= {table.num_rows}, found [{start}, {stop})")
    return range(start, stop)


def _chunks(rows: AnyArray) -> list[bytes]:
    """The messages of a group of rows; it may be overwritten then."""
    data, head = bytes_of(rows), pb.StreamFeaturesResponse()
    return [serialize_parts(head, (data[start:stop],)) for start, stop in chunk_ranges(data.nbytes)]


def _layout(table: FeatureTable, coded: bool) -> tuple["np.dtype[Any]", tuple[int, ...]]:
    return (np.dtype(np.uint8), (table.row_bytes,)) if coded else (table.dtype, table.row_shape)


def _row_bytes(table: FeatureTable, coded: bool) -> int:
    return table.row_bytes if coded else table.codec.num_items * table.dtype.itemsize


def _message(record: ObjectRecord, manifest: Manifest | None) -> pb.FeatureTable:
    if manifest is None:
        return pb.FeatureTable(name=record.name, id=record.id)
    codec = RowCodec.from_json(manifest.properties)
    return pb.FeatureTable(
        name=record.name,
        version=manifest.version,
        num_rows=manifest.properties["num_rows"],
        row_shape=codec.row_shape,
        dtype=wire_dtype(codec.dtype),
        logical_dtype=codec.logical_dtype,
        codec=codec.name,
        row_bytes=codec.row_bytes,
        disk_bytes=manifest.size_bytes,
        id=record.id,
    )
