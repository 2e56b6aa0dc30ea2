"""Serving a root until a signal comes: in one process, or in several."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import structlog

from outcrop.server.address import Address
from outcrop.server.logs import configure_logs
from outcrop.server.settings import ServerSettings

_log = structlog.get_logger("outcrop.server")


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers. metrics: None when they are off. processes: of ours that serve, by what they do."""

    address: Address
    metrics: Address | None
    processes: Mapping[str, int]


Announce = Callable[[Serving], object]


def serve(settings: ServerSettings, announce: Announce) -> None:
    """Serve until SIGTERM, SIGINT or the RPC Drain, then let calls under way end.

    announce: called when calls are answered. Raises what keeps the server from starting: InvalidArgument, Unavailable,
    CorruptFile, StorageFailure, ...
    """
    settings.check()
    configure_logs(settings.log)
    for warning in settings.warnings():
        _log.warning(warning)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal that started it may go away
    if settings.workers > 1:
        from outcrop.server.supervisor import supervise

        asyncio.run(supervise(settings, announce))
    else:
        asyncio.run(_serve_alone(settings, announce))


def leave() -> NoReturn:
    """End the process of a server that has drained.

    At once: taking grpc down would break calls that are just being refused, and threads that do not end would be waited
    for, whose work is safe against being killed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _serve_alone(settings: ServerSettings, announce: Announce) -> None:
    from outcrop.server.process import ServerProcess

    process = ServerProcess(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.drain_asked.set)
    try:
        await process.start()
        status = process.status.server
        _log.info("listening", address=process.address, path=str(settings.path), process=os.getpid())
        address = Address(settings.listen.host, process.port)
        announce(Serving(address, None if status is None else status.address, {"server": os.getpid()}))
        await process.drain_asked.wait()
    except BaseException:
        await process.stop(0)
        raise
    await process.drain(settings.drain_seconds)
    leave()
