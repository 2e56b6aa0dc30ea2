"""Every RPC of outcrop.v1 goes through here: parsed, identified, admitted, given its time, answered with a status.

Handlers are made from the descriptors, so that an RPC that is declared and not implemented fails at start, and the
rules of access.proto hold for each of them. Requests arrive as bytes: what cannot be parsed is the caller's mistake,
not grpc's.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from outcrop.errors import Cancelled, InvalidArgument, OutcropError
from outcrop.proto.chunks import Chunk, has_data, parse_chunk, serialize_chunk
from outcrop.proto.methods import Method, methods
from outcrop.proto.status import status_code, text_of, trailing_metadata
from outcrop.server.call import Call
from outcrop.server.identity import Identity
from outcrop.stop import Stop

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Context = grpc.aio.ServicerContext[Any, Any]
Identify = Callable[[Context], Identity]


class Handlers(grpc.GenericRpcHandler):
    """All RPCs of some services. `grpc.aio.Server.add_generic_rpc_handlers` takes it."""

    def __init__(
        self, services: Sequence[object], identify: Identify, executor: Executor, longest_seconds: float
    ) -> None:
        """services: objects whose class is called as the service, with a coroutine (or async generator) for each RPC.

        Raises AttributeError where one lacks an RPC.
        """
        self._identify, self._executor, self._longest_seconds = identify, executor, longest_seconds
        self._by_path = dict(self._all(services))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of a path; grpc answers UNIMPLEMENTED without one."""
        return self._by_path.get(handler_call_details.method)

    def _all(self, services: Sequence[object]) -> Any:
        by_name = {type(service).__name__: service for service in services}
        for method in methods().values():
            if method.service in by_name:
                yield method.path, self._handler(method, getattr(by_name[method.service], snake_case(method.name)))

    def _handler(self, method: Method, work: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        if method.client_streaming:

            async def collect(requests: AsyncIterator[bytes], context: Context) -> bytes:
                return await self._answered(method, context, lambda call: work(_parsed(call, requests), call))

            return grpc.stream_unary_rpc_method_handler(collect)
        if method.server_streaming:

            async def stream(raw: bytes, context: Context) -> AsyncIterator[bytes]:
                async with self._entered(method, context) as call:
                    request = _parse(method, raw)
                    call.authorize(request)
                    async with contextlib.aclosing(work(request, call)) as responses:
                        async for response in responses:
                            yield serialize_chunk(response)

            return grpc.unary_stream_rpc_method_handler(stream)

        async def unary(raw: bytes, context: Context) -> bytes:
            async def answer(call: Call) -> Message:
                request = _parse(method, raw)
                call.authorize(request)
                response: Message = await work(request, call)
                return response

            return await self._answered(method, context, answer)

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _answered(self, method: Method, context: Context, answer: Callable[[Call], Awaitable[Message]]) -> bytes:
        async with self._entered(method, context) as call:
            return (await answer(call)).SerializeToString()

    @contextlib.asynccontextmanager
    async def _entered(self, method: Method, context: Context) -> AsyncIterator[Call]:
        """A call from its begin to its status."""
        request_id = _request_id(context)
        stop = Stop(self._seconds(method, context))
        try:
            yield Call(method, request_id, self._identify(context), stop, self._executor)
        except OutcropError as error:
            await _abort(context, error, request_id)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Not for callers: the text may tell of paths and of memory.
            await _abort(
                context, OutcropError(f"a fault of the server; its log tells more of request {request_id}"), request_id
            )
            raise AssertionError from error
        finally:
            stop.set()

    def _seconds(self, method: Method, context: Context) -> float | None:
        remaining = context.time_remaining()
        if method.server_streaming or method.client_streaming:
            return remaining
        return self._longest_seconds if remaining is None else min(max(remaining, 0.0), self._longest_seconds)


def snake_case(name: str) -> str:
    """Return create_plan for CreatePlan."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _request_id(context: Context) -> str:
    metadata: Mapping[str, Any] = dict(context.invocation_metadata() or ())
    given = metadata.get(REQUEST_ID, "")
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _parse(method: Method, raw: bytes) -> Message:
    try:
        return method.request.FromString(raw)
    except DecodeError as error:
        raise InvalidArgument(
            f"{method.service}.{method.name}: expected a {method.request.__name__}: {error}"
        ) from error


async def _parsed(call: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The messages of a client's stream, each authorized; of those with data the data are a view."""
    method = call.method
    chunked = parse_chunk(method.request) if has_data(method.request) else None
    async for raw in requests:
        try:
            message: Any = chunked(raw) if chunked else method.request.FromString(raw)
        except DecodeError as error:
            raise InvalidArgument(
                f"{method.service}.{method.name}: expected a {method.request.__name__}: {error}"
            ) from error
        call.authorize(message.head if isinstance(message, Chunk) else message)
        yield message


async def _abort(context: Context, error: OutcropError, request_id: str) -> NoReturn:
    if isinstance(error, Cancelled) and context.cancelled():
        raise asyncio.CancelledError
    await context.abort(status_code(error), text_of(error), trailing_metadata(error, request_id))
