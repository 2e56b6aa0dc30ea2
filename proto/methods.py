"""Every RPC, as the descriptors tell it: its messages, who may call it, what it names, whether it may be repeated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from outcrop.v1 import (
    access_pb2,
    admin_pb2,
    collection_pb2,
    feature_pb2,
    graph_pb2,
    index_pb2,
    job_pb2,
    plan_pb2,
    snapshot_pb2,
    upload_pb2,
    vector_pb2,
)

# The files that declare services. tests/proto compares them with what the folder holds.
FILES: Sequence[FileDescriptor] = tuple(
    module.DESCRIPTOR
    for module in (
        admin_pb2,
        collection_pb2,
        feature_pb2,
        graph_pb2,
        index_pb2,
        job_pb2,
        plan_pb2,
        snapshot_pb2,
        upload_pb2,
        vector_pb2,
    )
)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. path: as HTTP/2 has it. role: the least that may call, a number of `Role`. names: the fields of the
    request that name stored objects. writes: the writer's affair. idempotent: may be sent again."""

    path: str
    service: str
    name: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    role: int
    names: tuple[access_pb2.NamedResource, ...]
    writes: bool
    idempotent: bool

    def resources(self, request: Message) -> Iterator[tuple[str, str]]:
        """Yield (kind, name) of every stored object that a request names; fields that are not set name none."""
        for named in self.names:
            for value in _values(request, named.field.split(".")):
                if isinstance(value, str):
                    yield named.kind, value
                else:
                    yield value.kind, value.name


@cache
def methods() -> Mapping[str, Method]:
    """Return all RPCs of outcrop.v1 by path."""
    found = [
        _method(method) for file in FILES for service in file.services_by_name.values() for method in service.methods
    ]
    return MappingProxyType({method.path: method for method in found})


def method_of(request: type[Message]) -> Method:
    """Return the RPC that takes a request; each has a message of its own."""
    return _by_request()[request.DESCRIPTOR.full_name]


@cache
def _by_request() -> Mapping[str, Method]:
    return {method.request.DESCRIPTOR.full_name: method for method in methods().values()}


def _method(descriptor: MethodDescriptor) -> Method:
    options = descriptor.GetOptions()
    extension: Any = access_pb2.access  # protoc types it as a plain FieldDescriptor
    access: access_pb2.Access = options.Extensions[extension]
    return Method(
        path=f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        service=descriptor.containing_service.name,
        name=descriptor.name,
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
        role=access.role,
        names=tuple(access.names),
        writes=access.writes,
        idempotent=options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
    )


def _values(message: Any, path: Sequence[str]) -> Iterator[Any]:
    """The values of a field path that are set, of each element of repeated fields."""
    if not path:
        yield message
        return
    field = message.DESCRIPTOR.fields_by_name[path[0]]
    if field.is_repeated:
        for element in getattr(message, path[0]):
            yield from _values(element, path[1:])
    elif field.message_type is None:
        if getattr(message, path[0]):
            yield getattr(message, path[0])
    elif message.HasField(path[0]):
        yield from _values(getattr(message, path[0]), path[1:])
