"""CollectionService: making, finding and dropping collections."""

import json

from outcrop.errors import InvalidArgument
from outcrop.proto.documents import to_document
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.types import CollectionInfo
from outcrop.v1 import collection_pb2 as pb


class CollectionService:
    """See proto/outcrop/v1/collection.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._database = engine.database

    async def create_collection(self, request: pb.CreateCollectionRequest, call: Call) -> pb.CreateCollectionResponse:
        """Make an empty collection."""
        spec, most = request.spec, self._engine.settings.limits.dimension
        if spec.dim > most:
            raise InvalidArgument(f"dim: expected 1 to {most}, found {spec.dim}")
        made = await call.run(
            self._database.create_collection,
            request.name,
            dim=spec.dim,
            metric=spec.metric or "l2",
            dtype=spec.dtype or "float32",
            id_type=spec.id_type or "int64",
        )
        return pb.CreateCollectionResponse(collection=_message(await call.run(made.info), made.id))

    async def get_collection(self, request: pb.GetCollectionRequest, call: Call) -> pb.GetCollectionResponse:
        """Return what a collection is and holds."""
        return pb.GetCollectionResponse(collection=await call.run(self._described, request.name))

    async def list_collections(self, request: pb.ListCollectionsRequest, call: Call) -> pb.ListCollectionsResponse:
        """Return those that the caller may see, by name."""
        names = [
            name for name in await call.run(self._database.collection_names) if call.identity.sees("collections", name)
        ]
        if request.names_only:
            return pb.ListCollectionsResponse(collections=[pb.Collection(name=name) for name in names])
        return pb.ListCollectionsResponse(collections=await call.run(lambda: [self._described(name) for name in names]))

    async def delete_collection(self, request: pb.DeleteCollectionRequest, call: Call) -> pb.DeleteCollectionResponse:
        """Drop a collection."""
        await call.run(self._database.drop_collection, request.name)
        return pb.DeleteCollectionResponse()

    async def get_collection_statistics(
        self, request: pb.GetCollectionStatisticsRequest, call: Call
    ) -> pb.GetCollectionStatisticsResponse:
        """Return where its memory is, and what was read."""
        collection = await call.run(self._engine.collection, request.name)
        return pb.GetCollectionStatisticsResponse(statistics=to_document(await call.run(collection.statistics)))

    def _described(self, name: str) -> pb.Collection:
        collection = self._database.collection(name)
        return _message(collection.info(), collection.id)


def _message(info: CollectionInfo, collection_id: str) -> pb.Collection:
    spec = info.spec
    return pb.Collection(
        name=info.name,
        spec=pb.CollectionSpec(dim=spec.dim, metric=spec.metric, dtype=spec.dtype, id_type=spec.id_type),
        id=collection_id,
        version=info.version,
        num_rows=info.num_rows,
        disk_bytes=info.disk_bytes,
        files=info.files,
        properties_json=json.dumps(info.properties),
    )
