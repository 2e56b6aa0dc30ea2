"""Services that are not ours: grpc.health.v1, which asks for no key, and reflection, which does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from outcrop.errors import OutcropError
from outcrop.proto.methods import FILES
from outcrop.proto.status import status_code, text_of
from outcrop.server.gate import Context, Gate

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
_MOST_WATCHERS = 64
_Answer = health_pb2.HealthCheckResponse


def service_names() -> list[str]:
    """Return the full names of our services."""
    return sorted(service.full_name for file in FILES for service in file.services_by_name.values())


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it carries no types
    """What probes are told, of the server and of each service. Asks for no key. Belongs to one event loop.

    The library's own forgets its other watchers when one leaves, and lets any number in.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._names = {"", *service_names()}
        self._status = _Answer.NOT_SERVING
        self._changed = asyncio.Event()
        self._watchers = 0
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def serving(self) -> None:
        """All is ready."""
        self._set(_Answer.SERVING)

    def draining(self) -> None:
        """No new calls are taken."""
        self._set(_Answer.NOT_SERVING)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Whether it serves now."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of this name")
        return _Answer(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Whether it serves now, and whenever that changes."""
        # Who watches stays for ever: without a bound, anybody could take all calls that grpc lets in.
        if self._watchers >= _MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_WATCHERS} probes watch already; use Check")
        self._watchers += 1
        try:
            while True:
                changed = self._changed
                known = request.service in self._names
                await context.write(_Answer(status=self._status if known else _Answer.SERVICE_UNKNOWN))
                await changed.wait()
        finally:
            self._watchers -= 1

    def _set(self, status: int) -> None:
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()


def add_reflection(server: grpc.aio.Server, gate: Gate) -> None:
    """Tell clients that may call our RPCs which there are."""
    names = [*service_names(), _HEALTH, _REFLECTION]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_GuardedReflection(names, gate), server)


class _GuardedReflection(ReflectionServicer):  # type: ignore[misc]  # it carries no types
    def __init__(self, names: list[str], gate: Gate) -> None:
        super().__init__(names)
        self._gate = gate

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            self._gate.identify(context)
        except OutcropError as error:
            await context.abort(status_code(error), text_of(error))
        async for response in super().ServerReflectionInfo(requests, context):
            yield response
