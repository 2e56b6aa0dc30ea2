"""VectorService: searching, counting and exporting the vectors of a collection."""

from collections.abc import AsyncIterator

import numpy as np

from outcrop.errors import NotFound
from outcrop.proto.chunks import CHUNK_BYTES
from outcrop.proto.tensors import from_tensor, to_ids, to_tensor
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.types import Neighbors, SearchUsage
from outcrop.v1 import vector_pb2 as pb


class VectorService:
    """See proto/outcrop/v1/vector.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def search(self, request: pb.SearchRequest, call: Call) -> pb.SearchResponse:
        """Return the nearest vectors of each query."""
        queries = from_tensor(request.queries, "queries")
        return _message(await call.run(self._search, request, queries, call))

    async def count(self, request: pb.CountRequest, call: Call) -> pb.CountResponse:
        """Return how many vectors the current version holds."""
        collection = await call.run(self._engine.collection, request.collection)
        return pb.CountResponse(count=await call.run(collection.count))

    async def export(self, request: pb.ExportRequest, call: Call) -> AsyncIterator[pb.ExportResponse]:
        """Yield all vectors of the current version, in the order in which they are stored."""
        collection = await call.run(self._engine.collection, request.collection)
        info = await call.run(collection.info)
        if request.HasField("version") and request.version != info.version:
            raise NotFound(
                f"{request.collection}: version {request.version} is gone, the current one is {info.version}"
            )
        row_bytes = info.spec.dim * np.dtype(info.spec.dtype).itemsize
        batch_rows = max(1, CHUNK_BYTES // row_bytes)
        row = request.start_row
        async for ids, vectors in call.each(collection.scan(batch_rows, start_row=row)):
            yield pb.ExportResponse(
                version=info.version,
                num_rows=info.num_rows,
                start_row=row,
                ids=to_ids(ids),
                vectors=to_tensor(vectors),
            )
            row += len(vectors)

    def _search(self, request: pb.SearchRequest, queries: object, call: Call) -> Neighbors:
        return self._engine.collection(request.collection).search(
            queries,  # type: ignore[arg-type]
            request.k,
            recall=request.recall if request.HasField("recall") else None,
            nprobe=request.nprobe if request.HasField("nprobe") else None,
            rerank=request.rerank if request.HasField("rerank") else None,
            exact=request.exact,
            share_reads=not request.separate_reads,
            stop=call.stop,
        )


def _message(found: Neighbors) -> pb.SearchResponse:
    return pb.SearchResponse(
        ids=to_ids(found.ids),
        distances=to_tensor(found.distances),
        usage=usage_message(found.usage),
        exact_distances=found.exact_distances,
        latency_us=to_tensor(found.latency_us),
    )


def usage_message(usage: SearchUsage) -> pb.SearchUsage:
    """Return what a search has cost, as it travels."""
    return pb.SearchUsage(
        queries=usage.queries,
        reads=usage.reads,
        bytes=usage.bytes,
        lists=usage.lists,
        cache_hits=usage.cache_hits,
        skipped=usage.skipped,
        distances=usage.distances,
        reranked=usage.reranked,
        waves=usage.waves,
        device_us=usage.device_us,
        centroid_us=usage.centroid_us,
        elapsed_us=usage.elapsed_us,
    )
