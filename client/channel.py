"""Calls that block: one connection for all threads, opened at the first call, by each process for itself."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from outcrop.client.endpoint import Endpoint, Retries
from outcrop.client.failures import failure
from outcrop.client.forks import gate
from outcrop.client.retry import Attempts
from outcrop.client.rpc import Feed, Rpc
from outcrop.errors import Cancelled, InvalidArgument, OutcropError
from outcrop.proto.chunks import Chunk, has_data, parse_chunk, serialize_chunk
from outcrop.proto.methods import Method, method_of
from outcrop.stop import Stop, stop_of

Answer = TypeVar("Answer")
Item = TypeVar("Item")

# How late a `Stop` that another thread sets may be noticed.
_WATCH_SECONDS = 0.01


class _Opened:
    """The connection of one process, and grpc's callable of each RPC."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.channel = open_channel(endpoint, grpc)
        self._callables: dict[str, Any] = {}

    def callable(self, method: Method) -> Any:
        found = self._callables.get(method.path)
        if found is None:
            found = self._callables[method.path] = make_callable(self.channel, method)
        return found


class Channel:
    """Makes RPCs to one endpoint. For any number of threads; may be pickled, and used after a fork."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Open nothing yet."""
        self.endpoint = endpoint
        # By process: what a fork has copied belongs to its parent, is never used here, and never closed either. Without
        # a lock, which a fork could copy while another thread holds it.
        self._opened: dict[int, _Opened] = {}
        self._closed = False

    def call(self, rpc: Rpc[Answer], timeout: float | None = None, stop: Stop | None = None) -> Answer:
        """Return the answer of a unary call.

        timeout: seconds for all attempts together, by default those of the endpoint. stop: ends the call early when
        another thread sets it. Raises what the server raised, Unavailable when it cannot be reached, DeadlineExceeded,
        Cancelled.
        """
        if timeout is not None:
            stop_of(timeout, stop)  # refuses what is no time, or two of them
        method = method_of(type(rpc.request))
        attempts = self._attempts(method, timeout if stop is None else stop.remaining())
        while True:
            try:
                return rpc.read(self._once(method, rpc.request, attempts.remaining(), stop))
            except grpc.RpcError as error:
                self._pause(attempts, failure(error, method, self.endpoint), stop)

    def send(self, messages: Sequence[Chunk[Any] | Message], request: type[Message]) -> Any:
        """Send the messages of a client's stream and return the response. Made once: only the caller knows what has
        arrived. Raises as `call` does."""
        method = method_of(request)
        try:
            make, metadata = self._callable(method), self.endpoint.metadata()
            with gate:
                return make(iter(messages), metadata=metadata)
        except grpc.RpcError as error:
            raise failure(error, method, self.endpoint) from None

    def stream(
        self,
        feed: Feed[Item],
        timeout: float | None = None,
        stop: Stop | None = None,
        retries: Retries | None = None,
    ) -> Iterator[Item]:
        """Yield what a server's stream brings. One that breaks is taken up where it was; the server is told when the
        iterator is closed. timeout: seconds for all of it; by default there is no limit. retries: instead of those of
        the endpoint. Raises as `call` does."""
        method = method_of(type(feed.request()))
        seconds = timeout if stop is None else stop.remaining()
        attempts = Attempts(retries or self.endpoint.retries, method.idempotent, seconds)
        while True:
            try:
                for response in self._responses(method, feed.request(), attempts.remaining(), stop):
                    attempts.succeeded()
                    item = feed.read(response)
                    if item is not None:
                        yield item
                return feed.end()
            except grpc.RpcError as error:
                if feed.complete:
                    return feed.end()
                self._pause(attempts, failure(error, method, self.endpoint), stop)

    def close(self) -> None:
        """End the connection of this process. Calls under way raise Cancelled."""
        self._closed = True
        opened = self._opened.pop(os.getpid(), None)
        if opened is not None:
            opened.channel.close()

    def _once(self, method: Method, request: Message, seconds: float | None, stop: Stop | None) -> Any:
        if stop is not None:
            stop.check()
        make, metadata = self._callable(method), self.endpoint.metadata()
        if stop is None:
            with gate:
                return make(request, timeout=seconds, metadata=metadata)
        call = make.future(request, timeout=seconds, metadata=metadata)
        with gate, _cancelled_by(stop, call):
            try:
                return call.result()
            except grpc.FutureCancelledError:
                stop.check()
                raise Cancelled("the connection was closed during the call") from None

    def _responses(self, method: Method, request: Message, seconds: float | None, stop: Stop | None) -> Iterator[Any]:
        call = self._callable(method)(request, timeout=seconds, metadata=self.endpoint.metadata())
        try:
            with _cancelled_by(stop, call):
                while True:
                    with gate:
                        response = next(call, None)
                    if response is None:
                        return
                    yield response
        finally:
            call.cancel()

    def _pause(self, attempts: Attempts, error: OutcropError, stop: Stop | None) -> None:
        if stop is not None:
            stop.check()
        time.sleep(attempts.pause_after(error))

    def _attempts(self, method: Method, timeout: float | None) -> Attempts:
        seconds = self.endpoint.timeout if timeout is None else timeout
        return Attempts(self.endpoint.retries, method.idempotent, seconds)

    def _callable(self, method: Method) -> Any:
        opened = self._opened.get(os.getpid())
        if opened is None:
            gate.check()
            check_open(self._closed, self.endpoint)
            made = _Opened(self.endpoint)
            opened = self._opened.setdefault(os.getpid(), made)
            if opened is not made:  # another thread was first
                made.channel.close()
        return opened.callable(method)

    def __getstate__(self) -> Endpoint:
        return self.endpoint

    def __setstate__(self, endpoint: Endpoint) -> None:
        self.__init__(endpoint)  # type: ignore[misc]


def open_channel(endpoint: Endpoint, stack: Any) -> Any:
    """Return a channel of a stack, `grpc` or `grpc.aio`. Nothing is connected before its first call."""
    if endpoint.secure:
        return stack.secure_channel(endpoint.target, endpoint.credentials(), options=endpoint.options())
    return stack.insecure_channel(endpoint.target, options=endpoint.options())


def make_callable(channel: Any, method: Method) -> Any:
    """Return grpc's callable of an RPC, which takes and gives data without copies."""
    streams = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary"}
    make = getattr(channel, streams[method.client_streaming, method.server_streaming])
    parse = parse_chunk(method.response) if has_data(method.response) else method.response.FromString
    return make(method.path, request_serializer=serialize_chunk, response_deserializer=parse)


def check_open(closed: bool, endpoint: Endpoint) -> None:
    """Raise InvalidArgument after `close`."""
    if closed:
        raise InvalidArgument(f"the connection to {endpoint.url} is closed; connect again")


@contextlib.contextmanager
def _cancelled_by(stop: Stop | None, call: Any) -> Iterator[None]:
    """Cancel the call when `stop` is set meanwhile. A `Stop` is memory that the core looks at and wakes nobody, so
    somebody looks at it."""
    if stop is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            if stop.is_set:
                call.cancel()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
