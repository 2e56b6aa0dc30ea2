"""Making, finding and dropping collections."""

import json
from dataclasses import dataclass

from outcrop.client.rpc import Rpc
from outcrop.proto.documents import from_document
from outcrop.types import CollectionInfo, CollectionSpec, CollectionStatistics
from outcrop.v1 import collection_pb2 as pb


@dataclass(frozen=True, slots=True)
class Found:
    """A collection of the server. id: another one when it was dropped and one of its name was made."""

    id: str
    info: CollectionInfo


def create(name: str, spec: CollectionSpec) -> Rpc[Found]:
    """Make an empty collection."""
    wanted = pb.CollectionSpec(dim=spec.dim, metric=spec.metric, dtype=spec.dtype, id_type=spec.id_type)
    return Rpc(pb.CreateCollectionRequest(name=name, spec=wanted), lambda response: _found(response.collection))


def get(name: str) -> Rpc[Found]:
    """Find a collection by its name."""
    return Rpc(pb.GetCollectionRequest(name=name), lambda response: _found(response.collection))


def names() -> Rpc[list[str]]:
    """List all that the key may see."""
    request = pb.ListCollectionsRequest(names_only=True)
    return Rpc(request, lambda response: [found.name for found in response.collections])


def infos() -> Rpc[list[CollectionInfo]]:
    """List all that the key may see, with what they hold."""
    return Rpc(
        pb.ListCollectionsRequest(), lambda response: [_found(collection).info for collection in response.collections]
    )


def drop(name: str) -> Rpc[None]:
    """Remove a collection."""
    return Rpc(pb.DeleteCollectionRequest(name=name), lambda _: None)


def statistics(name: str) -> Rpc[CollectionStatistics]:
    """Ask where its memory is, and what was read."""
    return Rpc(
        pb.GetCollectionStatisticsRequest(name=name),
        lambda response: from_document(response.statistics, CollectionStatistics),
    )


def _found(collection: pb.Collection) -> Found:
    spec = collection.spec
    info = CollectionInfo(
        collection.name,
        CollectionSpec(spec.dim, spec.metric, spec.dtype, spec.id_type),
        collection.version if collection.HasField("version") else None,
        collection.num_rows,
        collection.disk_bytes,
        json.loads(collection.properties_json or "{}"),
        dict(collection.files),
    )
    return Found(collection.id, info)
