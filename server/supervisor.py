"""Several processes on one root: one writes, the others share the port and read. They are started, started again when
they end before they should, and stopped together.

The supervisor itself answers no calls, and so there is little that it could fail at. It starts processes anew, never by
a fork: threads of gRPC do not survive one.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import structlog

from outcrop.errors import OutcropError, Unavailable
from outcrop.proto.status import error_of
from outcrop.server.address import Address
from outcrop.server.http_status import StatusServer
from outcrop.server.scrape import SharedMetrics
from outcrop.server.serve import Announce, Serving
from outcrop.server.settings import ServerSettings
from outcrop.server.status import SERVING, server_info

# A worker that ends soon after it began is started again after this, then twice this, and so on.
_SHORTEST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.1, 5.0, 30.0
# What a worker gets to stop, beyond the time that calls get.
_MARGIN_SECONDS = 20.0

_log = structlog.get_logger("outcrop.supervisor")


async def supervise(settings: ServerSettings, announce: Announce) -> None:
    """See `serve`: `settings.workers` processes that read, one that writes."""
    with ExitStack() as stack:
        port = stack.enter_context(_reserved(settings.listen))
        address = Address(settings.listen.host, port.getsockname()[1])
        settings = settings.model_copy(update={"listen": address})
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="outcrop-"))  # 0700, and its path is short
        metrics = stack.enter_context(SharedMetrics())
        supervisor = Supervisor(settings, Path(folder) / "writer", metrics)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.stopping.set)
        status = _status(settings, metrics, supervisor, stack)
        try:
            await supervisor.start()
            if not supervisor.stopping.is_set():
                _log.info("listening", address=str(address), path=str(settings.path), workers=settings.workers)
                announce(Serving(address, status, supervisor.processes))
                await supervisor.stopping.wait()
                _log.info("draining")
        finally:
            await supervisor.stop()


def _status(
    settings: ServerSettings, metrics: SharedMetrics, supervisor: "Supervisor", stack: ExitStack
) -> Address | None:
    """Show all processes as one server on the metrics port, where there is one; return its address."""
    if settings.metrics.listen is None:
        return None
    began = time.time()
    server = StatusServer(
        settings.metrics.listen,
        metrics.registry,
        is_ready=lambda: supervisor.state == SERVING,
        info=lambda: server_info(str(settings.listen), began, supervisor.state),
        dashboard=settings.metrics.dashboard,
    )
    return stack.enter_context(server).address


class Supervisor:
    """The processes of one server. Belongs to one event loop."""

    def __init__(self, settings: ServerSettings, writer: Path, metrics: SharedMetrics) -> None:
        """writer: the path of the socket between them."""
        self.stopping = asyncio.Event()
        self._settings, self._metrics = settings, metrics
        self._writer = _Worker("writer", self._task(writer, writes=True), self)
        self._readers = [
            _Worker(f"reader {n}", self._task(writer, writes=False), self) for n in range(settings.workers)
        ]

    @property
    def state(self) -> str:
        """starting, serving, draining, or what is missing; calls are answered while it is serving."""
        if self.stopping.is_set():
            return "draining"
        if not any(reader.serving.is_set() for reader in self._readers):
            return "starting"
        return SERVING if self._writer.serving.is_set() else "the writer is being started again"

    @property
    def processes(self) -> Mapping[str, int]:
        """Process ids by what they do."""
        workers = (self._writer, *self._readers)
        return {worker.name: worker.process.pid for worker in workers if worker.process is not None}

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the workers."""
        return os.environ | self._metrics.environment

    def forget(self, process: int) -> None:
        """A worker has ended."""
        self._metrics.forget(process)

    async def start(self) -> None:
        """Start the writer, which makes the root if need be, then the readers. Raises what keeps one from starting."""
        await self._writer.start()
        await asyncio.gather(*(reader.start() for reader in self._readers))

    async def stop(self) -> None:
        """Let readers end their calls, then the writer, which answers them until then."""
        self.stopping.set()
        self._writer.terminate()
        await asyncio.gather(*(reader.stop(self._settings.drain_seconds + _MARGIN_SECONDS) for reader in self._readers))
        await self._writer.stop(self._settings.drain_seconds + _MARGIN_SECONDS)

    def _task(self, socket: Path, writes: bool) -> str:
        settings = self._settings.model_dump(mode="json") | {"metrics": {"listen": "off"}}
        return json.dumps({"settings": settings, "writes": writes, "socket": str(socket)})


class _Worker:
    """One process, and those that take its place."""

    def __init__(self, name: str, task: str, supervisor: Supervisor) -> None:
        self.name = name
        self.serving = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self._task, self._supervisor = task, supervisor
        self._started: asyncio.Future[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it serves, or all are to stop. Raises what keeps it from that."""
        self._started = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(self._keep())
        stopping = asyncio.ensure_future(self._supervisor.stopping.wait())
        try:
            waiting: list[asyncio.Future[Any]] = [self._started, stopping]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._started.done():
                self._started.result()
        finally:
            stopping.cancel()

    def terminate(self) -> None:
        """Let it begin to end."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.terminate()

    async def stop(self, seconds: float) -> None:
        """End it: in time by itself, or else killed."""
        if self._keeping is None:
            return
        self.terminate()
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        _, late = await asyncio.wait([self._keeping], timeout=seconds)
        if late and self.process is not None:
            _log.error("a worker does not end and is killed", worker=self.name)
            with suppress(ProcessLookupError):
                self.process.kill()
        await self._keeping

    async def _keep(self) -> None:
        """Live after life, until all are to stop, or the first one fails."""
        pause = _SHORTEST_PAUSE
        while not self._supervisor.stopping.is_set():
            began = time.monotonic()
            code, error = await self._live()
            self.serving.clear()
            assert self._started is not None
            if not self._started.done():
                self._started.set_exception(error or Unavailable(f"{self.name}: ended with {code} before it served"))
                return
            if self._supervisor.stopping.is_set():
                return
            if time.monotonic() - began > _LONG_LIFE:
                pause = _SHORTEST_PAUSE
            _log.error("a worker has ended; another one takes its place", worker=self.name, code=code, error=str(error))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._supervisor.stopping.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live(self) -> tuple[int, OutcropError | None]:
        """One process from its start to its end; return its exit code, and why it could not serve."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "outcrop.server.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=self._supervisor.environment, start_new_session=True,
        )  # fmt: skip
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{self._task}\n".encode())
        if self._supervisor.stopping.is_set():
            self.terminate()
            process.stdin.close()
        error = None
        async for line in process.stdout:
            error = self._heard(json.loads(line)) or error
        code = await process.wait()
        self.process = None
        process.stdin.close()
        self._supervisor.forget(process.pid)
        return code, error

    def _heard(self, message: Mapping[str, Any]) -> OutcropError | None:
        if message.get("serving"):
            self.serving.set()
            assert self._started is not None
            if not self._started.done():
                self._started.set_result(None)
        if message.get("drain"):
            self._supervisor.stopping.set()
        return error_of(*message["error"]) if "error" in message else None


def _reserved(listen: Address) -> socket.socket:
    """A socket that is bound to the port and does not listen: the readers do, beside it, and nobody else can have it.

    Raises Unavailable when another process has it.
    """
    family, kind, protocol, _, place = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
    try:
        with socket.socket(family, kind, protocol) as alone:  # without sharing: fails where another server shares it
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(place)
            chosen = alone.getsockname()
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(chosen)
    except OSError as error:
        raise Unavailable(f"{listen}: cannot be bound: {error.strerror}") from error
    return held
