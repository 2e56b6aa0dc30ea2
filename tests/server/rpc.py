"""Calls by hand: messages in, messages out, errors as the classes that the server raised."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from outcrop.proto.chunks import Chunk, serialize_chunk
from outcrop.proto.methods import Method, method_of
from outcrop.proto.status import to_error


class Rpc:
    """A channel to a server; `call` a request, whichever RPC takes it. A context manager."""

    def __init__(self, address: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        # A connection of its own: otherwise channels to one address share one, and reach the same process.
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.metadata = metadata

    def call(self, request: Message, timeout: float = 60) -> Any:
        method = method_of(type(request))
        made = self.channel.unary_unary(method.path, serialize_chunk, method.response.FromString)
        return _answered(made, request, timeout=timeout, metadata=self.metadata)

    def stream(self, request: Message, timeout: float | None = None) -> Iterator[Any]:
        method = method_of(type(request))
        responses = self.channel.unary_stream(method.path, serialize_chunk, method.response.FromString)(
            request, timeout=timeout, metadata=self.metadata
        )
        try:
            yield from responses
        except grpc.RpcError as error:
            raise _error(error) from error

    def collect(self, method: Method, requests: Iterable[Message | Chunk[Any]], timeout: float = 60) -> Any:
        made = self.channel.stream_unary(method.path, serialize_chunk, method.response.FromString)
        return _answered(made, iter(requests), timeout=timeout, metadata=self.metadata)

    def __enter__(self) -> "Rpc":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


def _answered(made: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return made(*arguments, **named)
    except grpc.RpcError as error:
        raise _error(error) from error


def _error(error: Any) -> Exception:
    return to_error(error.code(), error.details(), error.trailing_metadata())
