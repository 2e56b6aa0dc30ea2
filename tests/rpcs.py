"""Any RPC with any bytes: what tests of the wire send, without a client that would help them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from outcrop.errors import OutcropError
from outcrop.proto.methods import Method, methods
from outcrop.proto.status import to_error


def method_named(name: str) -> Method:
    """name: `VectorService.Search`."""
    return next(method for method in methods().values() if f"{method.service}.{method.name}" == name)


def call(
    channel: grpc.Channel,
    method: Method,
    requests: bytes | Message | Iterable[bytes],
    metadata: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> list[bytes]:
    """Make one call and return the answers as bytes. Raises the class that the server raised."""
    if isinstance(requests, Message):
        requests = requests.SerializeToString()
    sent: Any = requests
    if method.client_streaming:
        sent = iter([requests] if isinstance(requests, bytes) else requests)
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    try:
        answer = make(method.path)(sent, timeout=timeout, metadata=tuple((metadata or {}).items()))
        return list(_each(answer))
    except grpc.RpcError as error:
        failed: Any = error
        assert failed.code() != grpc.StatusCode.UNIMPLEMENTED, f"{method.path} is declared and not served"
        raise to_error(failed.code(), failed.details(), failed.trailing_metadata()) from error


def status_of(channel: grpc.Channel, method: Method, requests: Any, **options: Any) -> OutcropError | None:
    """The error that a call ends with, None for success."""
    try:
        call(channel, method, requests, **options)
    except OutcropError as error:
        return error
    return None


def _each(answer: Any) -> Iterator[bytes]:
    if isinstance(answer, bytes):
        yield answer
    else:
        yield from answer


def naming(method: Method, name: str) -> Message:
    """A request of an RPC in which every field that names a stored object does, with `name`."""
    request = method.request()
    for named in method.names:
        *path, last = named.field.split(".")
        holder: Any = request
        for step in path:
            field = holder.DESCRIPTOR.fields_by_name[step]
            holder = getattr(holder, step).add() if field.is_repeated else getattr(holder, step)
        field = holder.DESCRIPTOR.fields_by_name[last]
        if field.message_type is None:
            setattr(holder, last, name)
        else:
            target = getattr(holder, last).add() if field.is_repeated else getattr(holder, last)
            target.kind, target.name = named.kind or "graphs", name
    return request
