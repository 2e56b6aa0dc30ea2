"""RPCs that change the root, in a process that only reads: passed on to the one that writes, as the bytes they are.

The writer asks for the key itself: all metadata travel with the call, as do its deadline, its end when the client
leaves, and the details of an error.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc

from outcrop.errors import Unavailable
from outcrop.proto.methods import Method
from outcrop.proto.status import DETAILS, status_code, trailing_metadata
from outcrop.server.doors import Doors
from outcrop.server.gate import CERTIFICATE, Context, common_name, request_id_of
from outcrop.server.settings import ServerSettings

# Of the connection and not of the call; the writer's connection has its own.
_OWN = ("grpc-", "user-agent", ":", CERTIFICATE)
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500)]


class Forward:
    """The way to the writer. Belongs to one event loop."""

    def __init__(self, socket: Path, settings: ServerSettings, doors: Doors) -> None:
        """socket: where the writer listens, sooner or later."""
        limits = [
            ("grpc.max_receive_message_length", settings.limits.message),
            ("grpc.max_send_message_length", settings.limits.message),
        ]
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=[*limits, *_RECONNECT])
        self._doors = doors
        self._shows_certificates = settings.tls.client_ca is not None

    def handler(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return what answers an RPC."""
        if method.client_streaming:
            collect: Any = self._channel.stream_unary(method.path)

            async def collected(requests: AsyncIterator[bytes], context: Context) -> bytes:
                async with self._passed(context):
                    return await self._answer(collect(requests, **self._arguments(context)), context)

            return grpc.stream_unary_rpc_method_handler(collected)
        if method.server_streaming:
            stream: Any = self._channel.unary_stream(method.path)

            async def streamed(request: bytes, context: Context) -> None:
                async with self._passed(context):
                    call = stream(request, **self._arguments(context))
                    try:
                        async for response in call:
                            await context.write(response)
                        context.set_trailing_metadata(await call.trailing_metadata())
                    finally:
                        call.cancel()

            return grpc.unary_stream_rpc_method_handler(streamed)
        unary: Any = self._channel.unary_unary(method.path)

        async def answered(request: bytes, context: Context) -> bytes:
            async with self._passed(context):
                return await self._answer(unary(request, **self._arguments(context)), context)

        return grpc.unary_unary_rpc_method_handler(answered)

    async def close(self) -> None:
        """End the connection, with the calls on it."""
        await self._channel.close()

    @contextlib.asynccontextmanager
    async def _passed(self, context: Context) -> AsyncIterator[None]:
        """A call that is waited for when the server stops; what went wrong with it becomes its status."""
        try:
            self._doors.enter(context)
            yield
        except Unavailable as error:
            await _refuse(context, error)
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata() or ()
            if error.code() is grpc.StatusCode.UNAVAILABLE and DETAILS not in dict(trailing):
                await _refuse(context, _writer_away())
            await context.abort(error.code(), error.details() or "", tuple(trailing))

    async def _answer(self, call: Any, context: Context) -> bytes:
        try:
            response: bytes = await call
            context.set_trailing_metadata(await call.trailing_metadata())
            return response
        finally:
            call.cancel()

    def _arguments(self, context: Context) -> dict[str, Any]:
        return {"timeout": context.time_remaining(), "metadata": tuple(self._metadata(context))}

    def _metadata(self, context: Context) -> Iterator[tuple[str, Any]]:
        for key, value in context.invocation_metadata() or ():
            if not key.startswith(_OWN):
                yield key, value
        name = common_name(context) if self._shows_certificates else None
        if name is not None:
            yield CERTIFICATE, name.encode()


def _writer_away() -> Unavailable:
    return Unavailable(
        "the process that writes is not there; it is being started again. Whether the call was done is not known if it "
        "was under way: look before you repeat it"
    )


async def _refuse(context: Context, error: Unavailable) -> None:
    request_id = request_id_of(dict(context.invocation_metadata() or ()))
    await context.abort(status_code(error), str(error), trailing_metadata(error, request_id))
