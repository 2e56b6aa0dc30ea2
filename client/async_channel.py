"""Calls that are awaited: as `Channel`, for coroutines of any event loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import grpc
from google.protobuf.message import Message

from outcrop.client.channel import check_open, make_callable, open_channel
from outcrop.client.endpoint import Endpoint, Retries
from outcrop.client.failures import failure
from outcrop.client.forks import gate
from outcrop.client.retry import Attempts
from outcrop.client.rpc import Feed, Rpc
from outcrop.proto.chunks import Chunk
from outcrop.proto.methods import Method, method_of
from outcrop.stop import Stop

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class _Opened:
    """The connection of one event loop, and grpc's callable of each RPC."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.process = os.getpid()
        self.channel = open_channel(endpoint, grpc.aio)
        self._callables: dict[str, Any] = {}

    def callable(self, method: Method) -> Any:
        found = self._callables.get(method.path)
        if found is None:
            found = self._callables[method.path] = make_callable(self.channel, method)
        return found


class AsyncChannel:
    """Makes RPCs to one endpoint. Each event loop has a connection of its own; may be pickled. A call ends early when
    its task is cancelled."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet."""
        self.endpoint = endpoint
        self._opened: WeakKeyDictionary[asyncio.AbstractEventLoop, _Opened] = WeakKeyDictionary()
        self._closed = False

    async def call(self, rpc: Rpc[Answer], timeout: float | None = None) -> Answer:
        """Return the answer of a unary call. timeout and errors: as `Channel.call`."""
        if timeout is not None:
            Stop(timeout)  # refuses what is no time
        method = method_of(type(rpc.request))
        seconds = self.endpoint.timeout if timeout is None else timeout
        attempts = Attempts(self.endpoint.retries, method.idempotent, seconds)
        make, metadata = self._callable(method), self.endpoint.metadata()
        while True:
            try:
                return rpc.read(await make(rpc.request, timeout=attempts.remaining(), metadata=metadata))
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(attempts.pause_after(failure(error, method, self.endpoint)))

    async def send(self, messages: Sequence[Chunk[Any] | Message], request: type[Message]) -> Any:
        """Send the messages of a client's stream and return the response. As `Channel.send`."""
        method = method_of(request)
        call = self._callable(method)(metadata=self.endpoint.metadata())
        try:
            try:
                for message in messages:
                    await call.write(message)
                await call.done_writing()
            except asyncio.InvalidStateError:
                pass  # the server has ended the call early; its status tells why
            return await call
        except grpc.aio.AioRpcError as error:
            raise failure(error, method, self.endpoint) from None
        finally:
            call.cancel()

    async def stream(
        self, feed: Feed[Item], timeout: float | None = None, retries: Retries | None = None
    ) -> AsyncIterator[Item]:
        """Yield what a server's stream brings. As `Channel.stream`."""
        method = method_of(type(feed.request()))
        attempts = Attempts(retries or self.endpoint.retries, method.idempotent, timeout)
        make, metadata = self._callable(method), self.endpoint.metadata()
        while True:
            call = make(feed.request(), timeout=attempts.remaining(), metadata=metadata)
            try:
                async for response in call:
                    attempts.succeeded()
                    item = feed.read(response)
                    if item is not None:
                        yield item
                feed.end()
                return
            except grpc.aio.AioRpcError as error:
                if feed.complete:
                    feed.end()
                    return
                pause = attempts.pause_after(failure(error, method, self.endpoint))
            finally:
                call.cancel()
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End the connection of this event loop. Calls under way are cancelled."""
        self._closed = True
        opened = self._opened.pop(asyncio.get_running_loop(), None)
        if opened is not None:
            await opened.channel.close()

    def _callable(self, method: Method) -> Any:
        loop = asyncio.get_running_loop()
        opened = self._opened.get(loop)
        if opened is None or opened.process != os.getpid():
            gate.check()
            check_open(self._closed, self.endpoint)
            gate.keep_thread_inside()
            opened = self._opened[loop] = _Opened(self.endpoint)
        return opened.callable(method)

    def __getstate__(self) -> Endpoint:
        return self.endpoint

    def __setstate__(self, endpoint: Endpoint) -> None:
        self.__init__(endpoint)  # type: ignore[misc]
