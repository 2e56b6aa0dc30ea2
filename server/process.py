"""One process of the service: the engine, its services, a gRPC server on a port."""

import asyncio
import signal
from typing import Any

import grpc

from outcrop.server.engine import Engine
from outcrop.server.handlers import Context, Handlers
from outcrop.server.identity import ANONYMOUS, Identity
from outcrop.server.services.collections import CollectionService
from outcrop.server.services.vectors import VectorService
from outcrop.server.settings import ServerSettings


class ServerProcess:
    """A server that is started and stopped; `port` is where it listens."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open the root and bind the port. Raises InvalidArgument, Unavailable when the port is taken."""
        self.settings = settings
        self.engine = Engine(settings)
        self._server = grpc.aio.server(options=_options(settings))
        services: list[object] = [CollectionService(self.engine), VectorService(self.engine)]
        handlers = Handlers(services, self._identify, self.engine.executor, settings.limits.longest_deadline_seconds)
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port(str(settings.listen))

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let those under way end within the time, then cancel them, and close the engine."""
        await self._server.stop(grace_seconds)
        await asyncio.get_running_loop().run_in_executor(None, self.engine.close)

    def _identify(self, context: Context) -> Identity:
        return ANONYMOUS


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.limits.message),
        ("grpc.max_send_message_length", settings.limits.message),
    ]


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    process = ServerProcess(settings)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await process.start()
    await ended.wait()
    await process.stop(settings.drain_seconds)
