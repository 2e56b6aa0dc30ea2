"""Services that are not ours: grpc.health.v1, which asks for no key, and reflection, which does."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from outcrop.errors import OutcropError
from outcrop.proto.methods import FILES
from outcrop.proto.status import status_code, text_of
from outcrop.server.gate import Context, Gate

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


def service_names() -> list[str]:
    """Return the full names of our services."""
    return sorted(service.full_name for file in FILES for service in file.services_by_name.values())


class Health:
    """What probes are told, of the server and of each service."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._servicer = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self) -> None:
        """All is ready."""
        for name in ("", *service_names()):
            await self._servicer.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def draining(self) -> None:
        """No new calls, for good."""
        await self._servicer.enter_graceful_shutdown()


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
