"""Every RPC of outcrop.v1 goes through here: let in by the gate, parsed, authorized, answered.

Handlers are made from the descriptors, so that an RPC that is declared and not implemented fails at start, and the
rules of access.proto hold for each of them. Requests arrive as bytes: what cannot be parsed is the caller's mistake,
not grpc's.
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from outcrop.errors import InvalidArgument, Unauthenticated
from outcrop.proto.chunks import Chunk, has_data, parse_chunk, serialize_chunk
from outcrop.proto.methods import Method, methods
from outcrop.server.call import Call
from outcrop.server.forward import Forward
from outcrop.server.gate import Context, Gate

# From here on parsing takes longer than a change of threads.
_LARGE_REQUEST_BYTES = 256 << 10

_Routes: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"


class Handlers(grpc.GenericRpcHandler):
    """All RPCs of some services. `grpc.aio.Server.add_generic_rpc_handlers` takes it."""

    def __init__(self, services: Sequence[object], gate: Gate, forward: Forward | None = None) -> None:
        """services: objects whose class is called as the service, with a coroutine (or async generator) for each RPC.
        forward: where another process writes, the way to it.

        A coroutine returns the response, or its bytes where a thread has serialized it. Raises AttributeError where a
        service lacks an RPC.
        """
        self._gate, self._forward = gate, forward
        self._by_path = dict(self._all(services))
        self._refusals: _Routes = {
            path: grpc.stream_unary_rpc_method_handler(partial(self._refuse, method))
            for path, method in methods().items()
            if path in self._by_path and gate.may_refuse(method) and not (method.writes and forward is not None)
        }
        self._strangers: _Routes = {
            path: grpc.stream_unary_rpc_method_handler(partial(self._turn_away, methods()[path]))
            for path in self._by_path
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of a path; grpc answers UNIMPLEMENTED without one.

        Calls for which there is no place, and those of strangers, get handlers of streams, which never ask for the
        request: so it is not received, and takes neither memory nor time.
        """
        path = handler_call_details.method
        if self._gate.is_full and path in self._refusals:
            return self._refusals[path]
        if path in self._strangers and self._gate.is_stranger(handler_call_details.invocation_metadata or ()):
            return self._strangers[path]
        return self._by_path.get(path)

    async def _refuse(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._gate.refuse(method, context)

    async def _turn_away(self, method: Method, requests: AsyncIterator[bytes], context: Context) -> None:
        async with self._gate.entered(method, context, 0):
            raise Unauthenticated("API key: not known a moment ago; try again")

    def _all(self, services: Sequence[object]) -> "Iterator[tuple[str, grpc.RpcMethodHandler[Any, Any]]]":
        by_name = {type(service).__name__: service for service in services}
        for method in methods().values():
            if method.service in by_name:
                yield method.path, self._handler(method, getattr(by_name[method.service], snake_case(method.name)))

    def _handler(self, method: Method, work: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        if method.writes and self._forward is not None:
            return self._forward.handler(method)
        if method.client_streaming:

            async def collect(requests: AsyncIterator[bytes], context: Context) -> bytes:
                return await self._answered(method, context, 0, lambda call: work(_parsed(call, requests), call))

            return grpc.stream_unary_rpc_method_handler(collect)
        if method.server_streaming:

            async def stream(raw: bytes, context: Context) -> None:
                async with self._gate.entered(method, context, len(raw)) as call:
                    request = await _authorized(call, raw)
                    async with contextlib.aclosing(work(request, call)) as responses:
                        async for response in responses:
                            message = serialize_chunk(response)
                            call.meter.sent(len(message))
                            await context.write(message)

            return grpc.unary_stream_rpc_method_handler(stream)

        async def unary(raw: bytes, context: Context) -> bytes:
            async def answer(call: Call) -> Message | bytes:
                response: Message | bytes = await work(await _authorized(call, raw), call)
                return response

            return await self._answered(method, context, len(raw), answer)

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _answered(
        self,
        method: Method,
        context: Context,
        num_bytes: int,
        answer: Callable[[Call], Awaitable[Message | bytes]],
    ) -> bytes:
        async with self._gate.entered(method, context, num_bytes) as call:
            response = await answer(call)
            message = response if isinstance(response, bytes) else response.SerializeToString()
            call.meter.sent(len(message))
            return message


def snake_case(name: str) -> str:
    """Return create_plan for CreatePlan."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


async def _authorized(call: Call, raw: bytes) -> Message:
    """The request, which the caller may make."""
    if len(raw) > _LARGE_REQUEST_BYTES:
        request: Message = await call.run(_parse, call.method, call.method.request.FromString, raw)
    else:
        request = _parse(call.method, call.method.request.FromString, raw)
    call.authorize(request)
    return request


async def _parsed(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The messages of a client's stream, each authorized; of those with data the data are a view."""
    method = call.method
    parse: Callable[[bytes], Any] = (
        parse_chunk(method.request) if has_data(method.request) else method.request.FromString
    )
    async for raw in requests:
        call.meter.received(len(raw))
        message = _parse(method, parse, raw)
        call.authorize(message.head if isinstance(message, Chunk) else message)
        yield message


def _parse(method: Method, parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError as error:
        raise InvalidArgument(
            f"{method.service}.{method.name}: expected a {method.request.__name__}: {error}"
        ) from error
