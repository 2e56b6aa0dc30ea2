"""VectorService: searching, counting and exporting the vectors of a collection."""

from collections.abc import AsyncIterator

from outcrop.proto.chunks import CHUNK_BYTES
from outcrop.proto.tensors import to_ids, to_tensor
from outcrop.server.batching import Batcher
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.metrics import ServerMetrics
from outcrop.server.search import Searcher, queries_of, search_key
from outcrop.v1 import vector_pb2 as pb

_LONGEST_ID = {"int64": 8, "string": 1024}


class VectorService:
    """See proto/outcrop/v1/vector.proto."""

    def __init__(self, engine: Engine, metrics: ServerMetrics) -> None:
        self._engine, self._settings = engine, engine.settings
        self._searcher = Searcher(engine)
        self._batcher = Batcher(self._searcher.together, engine.executor, self._settings.batching, metrics)

    async def search(self, request: pb.SearchRequest, call: Call) -> bytes:
        """Return the nearest vectors of each query: a serialized SearchResponse."""
        queries = queries_of(request, self._settings.limits)
        batching = self._settings.batching
        if request.exact or request.separate_reads or not batching.enabled or len(queries) > batching.max_queries:
            self._engine.metrics.batch(len(queries), 1)
            return await call.run(self._searcher.alone, request, queries, call.stop)
        return await self._batcher.ask(search_key(request, queries), queries, len(queries), call.stop)

    async def count(self, request: pb.CountRequest, call: Call) -> pb.CountResponse:
        """Return how many vectors the current version holds."""
        collection = await call.run(self._engine.collection, request.collection)
        return pb.CountResponse(count=await call.run(collection.count))

    async def export(self, request: pb.ExportRequest, call: Call) -> AsyncIterator[pb.ExportResponse]:
        """Yield all vectors of the current version, in the order in which they are stored."""
        collection = await call.run(self._engine.collection, request.collection)
        batch_rows = max(1, CHUNK_BYTES // (collection.spec.row_bytes + _LONGEST_ID[collection.spec.id_type]))
        version = request.version if request.HasField("version") else None
        row = request.start_row
        scan = await call.run(collection.scan, batch_rows, start_row=row, version=version, stop=call.stop)
        yield pb.ExportResponse(version=scan.version, num_rows=scan.num_rows, start_row=row)
        async for ids, vectors in call.each(scan):
            yield pb.ExportResponse(
                version=scan.version,
                num_rows=scan.num_rows,
                start_row=row,
                ids=to_ids(ids),
                vectors=to_tensor(vectors),
            )
            row += len(vectors)
