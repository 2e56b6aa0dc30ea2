"""One process of the service: the engine, its services, a gRPC server on a port."""

import asyncio
import signal
from typing import Any

import grpc
import structlog

from outcrop.server.address import Address
from outcrop.server.engine import Engine
from outcrop.server.gate import Gate
from outcrop.server.handlers import Handlers
from outcrop.server.jobs import Jobs
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer
from outcrop.server.ports import bind
from outcrop.server.services.collections import CollectionService
from outcrop.server.services.features import FeatureService
from outcrop.server.services.graphs import GraphService
from outcrop.server.services.indexes import IndexService
from outcrop.server.services.jobs import JobService
from outcrop.server.services.plans import PlanService
from outcrop.server.services.snapshots import SnapshotService
from outcrop.server.services.uploads import UploadService
from outcrop.server.services.vectors import VectorService
from outcrop.server.settings import Limits, ServerSettings
from outcrop.server.status import SERVING, Status
from outcrop.server.tracing import Tracing
from outcrop.server.uploads import Uploads
from outcrop.store import SERVICE_FOLDER

_log = structlog.get_logger("outcrop.server")


class ServerProcess:
    """A server that is started and stopped; `port` is where it listens."""

    def __init__(self, settings: ServerSettings) -> None:
        """Open the root and bind the port. Raises InvalidArgument, Unavailable when the port is taken."""
        self.settings = settings
        self.metrics = ServerMetrics()
        self.engine = Engine(settings, metrics=self.metrics)
        self._server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=_most_calls(settings.limits))
        folder = settings.path / SERVICE_FOLDER
        uploads = Uploads(folder / "uploads", settings.jobs)
        self.jobs = Jobs(folder / "jobs", settings.jobs, uploads)
        services: list[object] = [
            CollectionService(self.engine),
            FeatureService(self.engine, self.jobs),
            GraphService(self.engine, self.jobs),
            IndexService(self.engine, self.jobs),
            JobService(self.jobs),
            PlanService(self.engine, self.jobs),
            SnapshotService(self.engine, self.jobs),
            UploadService(uploads),
            VectorService(self.engine, self.metrics),
        ]
        self.tracing = Tracing.of(settings.otel)
        self.gate = Gate(settings, self.engine.executor, self.metrics, self.tracing)
        self._server.add_generic_rpc_handlers((Handlers(services, self.gate),))
        self.port = bind(self._server, settings)
        self.status = Status(settings, self.metrics, Observer(self.engine, self.metrics), self.address)

    async def start(self) -> None:
        """Begin to answer, and take up the jobs of an earlier process."""
        await self.jobs.start()
        await self._server.start()
        self.status.state = SERVING
        _log.info("listening", address=self.address, path=str(self.settings.path))

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system may have chosen."""
        return str(Address(self.settings.listen.host, self.port))

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let those under way end within the time, then cancel them, and close the engine."""
        _log.info("draining", address=self.address, seconds=grace_seconds)
        self.status.state = "draining"
        await asyncio.gather(self._server.stop(grace_seconds), self.jobs.stop())
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self.status.close()
        self.engine.close()
        self.tracing.close()


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.limits.message),
        ("grpc.max_send_message_length", settings.limits.message),
    ]


def _most_calls(limits: Limits) -> int:
    """What grpc itself lets in. The gate refuses far earlier, with a hint; this bounds what comes in faster than it can
    refuse."""
    return 2 * (limits.calls + limits.queue + limits.streams) + 1000


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
