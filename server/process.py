"""One process of the service: the engine, its services, a gRPC server on a port."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import grpc
import structlog

from outcrop.errors import Unavailable
from outcrop.server.address import Address
from outcrop.server.engine import Engine
from outcrop.server.forward import Forward
from outcrop.server.gate import Gate
from outcrop.server.handlers import Handlers
from outcrop.server.jobs import Jobs
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer
from outcrop.server.place import Place
from outcrop.server.ports import bind, bind_socket
from outcrop.server.probes import Health, add_reflection
from outcrop.server.services.admin import AdminService
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
from outcrop.store import SERVICE_FOLDER, os_calls

# What calls that are cancelled, and jobs, may take to notice it.
_CLOSE_SECONDS = 10.0
# What those get that watch the health, to be told before the process has gone.
_TELL_SECONDS = 0.2
# A thread that comes back from the core waits so long for an event loop that is busy with Python. Beside a busy thread
# a search that takes 0.42 ms alone took 6.8 ms with Python's own 5 ms, 0.79 with 0.5, and 0.38 with this.
_SWITCH_SECONDS = 1e-4

_log = structlog.get_logger("outcrop.server")


class ServerProcess:
    """A server that is started and stopped; `port` is where it listens. Belongs to one event loop."""

    def __init__(
        self, settings: ServerSettings, place: Place | None = None, ask_to_drain: Callable[[], object] | None = None
    ) -> None:
        """Open the root and bind the port. place: of several processes that serve the root; None: it is the only one.
        ask_to_drain: what the RPC of that name does; None: `drain_asked` is set.

        Raises InvalidArgument; Unavailable when the port is taken, or another server writes this root.
        """
        self.settings, self.place = settings, place or Place()
        self.drain_asked = asyncio.Event()
        self.metrics = ServerMetrics()
        self.port = 0
        with contextlib.ExitStack() as stack:
            self.tracing = Tracing.of(settings.otel)
            stack.callback(self.tracing.close)
            self.engine = stack.enter_context(Engine(settings, read_only=self.place.forwards, metrics=self.metrics))
            if self.place.writes:
                stack.callback(os.close, _writer_lock(settings))
            self.gate = self._gate()
            self._listen(ask_to_drain or self.drain_asked.set)
            observer = Observer(self.engine, self.metrics)
            self.status = stack.enter_context(
                contextlib.closing(Status(settings, self.metrics, observer, self.address))
            )
            self._resources = stack.pop_all()

    async def start(self) -> None:
        """Begin to answer, and take up the jobs of an earlier process."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        if self.place.writes:
            await self.jobs.start()
        self._health.serving()
        await self._server.start()
        self.status.state = SERVING

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system may have chosen."""
        return str(Address(self.settings.listen.host, self.port))

    async def stop_jobs(self) -> None:
        """Let jobs stop at their next step; they go on when a server is started again."""
        if self.place.writes:
            await self.jobs.stop()

    async def stop(self, grace_seconds: float) -> bool:
        """`drain`, then end all connections."""
        ended = await self.drain(grace_seconds)
        await self._server.stop(0)
        return ended

    async def drain(self, grace_seconds: float) -> bool:
        """Refuse new calls, let those under way end within the time, then cancel them, and close the engine.

        New calls are refused until the process ends: those that come while grpc stops would not learn why they broke.
        Returns whether all work has ended; what has not ends with the process, which loses nothing.
        """
        doors = self.gate.doors
        _log.info("draining", address=self.address, seconds=grace_seconds, calls=doors.inside)
        self.status.state = "draining"
        doors.close()
        self._health.draining()
        jobs = asyncio.ensure_future(self.stop_jobs())
        if not await doors.emptied(grace_seconds):
            _log.warning("calls are cancelled", calls=doors.inside, after_seconds=grace_seconds)
            await self._server.stop(0)
        if self._forward is not None:
            await self._forward.close()
        closed = asyncio.ensure_future(self._close(jobs))
        await asyncio.sleep(_TELL_SECONDS)
        await asyncio.wait([closed], timeout=_CLOSE_SECONDS)
        if not closed.done():
            _log.warning("work that does not stop is given up")
        return closed.done()

    async def _close(self, jobs: "asyncio.Future[None]") -> None:
        await jobs
        await asyncio.get_running_loop().run_in_executor(None, self._resources.close)

    def _gate(self) -> Gate:
        trusts_readers = not self.place.listens_on_port
        return Gate(self.settings, self.engine.executor, self.metrics, self.tracing, trusts_readers=trusts_readers)

    def _listen(self, drain: Callable[[], object]) -> None:
        settings, place = self.settings, self.place
        self._server = grpc.aio.server(
            options=_options(settings, place), maximum_concurrent_rpcs=_most_calls(settings.limits)
        )
        self._health = Health(self._server)
        if settings.offers_reflection:
            add_reflection(self._server, self.gate)
        self._forward = Forward(place.socket, settings, self.gate.doors) if place.forwards and place.socket else None
        self._server.add_generic_rpc_handlers((Handlers(self._services(drain), self.gate, self._forward),))
        if place.listens_on_port:
            self.port = bind(self._server, settings)
        else:
            assert place.socket is not None
            bind_socket(self._server, place.socket)

    def _services(self, drain: Callable[[], object]) -> list[object]:
        folder = self.settings.path / SERVICE_FOLDER
        uploads = Uploads(folder / "uploads", self.settings.jobs)
        self.jobs = Jobs(folder / "jobs", self.settings.jobs, uploads)
        return [
            AdminService(self.engine, self.jobs, self.metrics, self.place, drain),
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


def _writer_lock(settings: ServerSettings) -> int:
    """Two servers would take each other's jobs and uploads for their own."""
    path = settings.path / SERVICE_FOLDER / "lock"
    os_calls.make_folder(path.parent)
    descriptor = os_calls.lock(path, exclusive=True, wait=False)
    if descriptor is None:
        holder = path.read_text().strip()
        raise Unavailable(f"{settings.path}: another server, process {holder or 'unknown'}, serves this root")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


def _options(settings: ServerSettings, place: Place) -> list[tuple[str, Any]]:
    return [
        # Only for processes of one server: two servers must not share a port by accident.
        ("grpc.so_reuseport", int(place.forwards)),
        ("grpc.max_receive_message_length", settings.limits.message),
        ("grpc.max_send_message_length", settings.limits.message),
        # A client that is gone without a word is noticed within minutes, and what it has open is given back; grpc's own
        # default is two hours.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _most_calls(limits: Limits) -> int:
    """What grpc itself lets in. The gate refuses far earlier, with a hint; this bounds what comes in faster than it can
    refuse."""
    return 2 * (limits.calls + limits.queue + limits.streams + limits.watchers) + 1000
