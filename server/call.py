"""What a service knows of the RPC that it answers: who calls, for how long, and where the engine's work is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from google.protobuf.message import Message

from outcrop.errors import PermissionDenied
from outcrop.proto.methods import Method
from outcrop.server.identity import ROLES, Identity
from outcrop.server.metrics import MethodMeter
from outcrop.stop import Stop

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_END = object()


class Call:
    """One RPC under way. stop: its deadline, set when the client has left; hand it to the engine."""

    def __init__(
        self,
        method: Method,
        request_id: str,
        identity: Identity,
        stop: Stop,
        executor: Executor,
        meter: MethodMeter,
    ) -> None:
        self.method = method
        self.request_id = request_id
        self.identity = identity
        self.stop = stop
        self.meter = meter
        self._executor = executor

    def check_role(self) -> None:
        """Raise PermissionDenied unless the caller's role allows the RPC."""
        role = ROLES[self.method.role - 1]
        if not self.identity.allows(role):
            raise PermissionDenied(
                f"{self.method.service}.{self.method.name} needs the role {role}; {self.identity.name} has "
                f"{self.identity.role}"
            )

    def authorize(self, request: Message) -> None:
        """Raise PermissionDenied unless the caller's scope holds all that the request names, whether it is there or
        not."""
        for kind, name in self.method.resources(request):
            if not self.identity.sees(kind, name):
                raise PermissionDenied(f"{kind}/{name} is not in the scope of {self.identity.name}")

    async def run(
        self, work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """Return what `work` returns, done in a thread of the engine.

        When the call is cancelled meanwhile, `stop` is set and the thread is waited for: what it holds is free again
        when the call has left.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, lambda: work(*arguments, **named))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.stop.set()
            with contextlib.suppress(Exception):
                await asyncio.wait([future])
                future.exception()
            raise

    async def each(self, items: Iterator[Result]) -> AsyncIterator[Result]:
        """Yield what a blocking iterator yields, each step in a thread, the next one while this one is sent."""
        ahead = asyncio.ensure_future(self.run(next, items, _END))
        try:
            while (item := await ahead) is not _END:
                ahead = asyncio.ensure_future(self.run(next, items, _END))
                yield item  # type: ignore[misc]
        finally:
            self.stop.set()
            ahead.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await ahead
            close = getattr(items, "close", None)
            if close is not None:
                await asyncio.get_running_loop().run_in_executor(self._executor, close)
