"""One of several processes that serve a root, started by the supervisor.

On standard input it finds a line of JSON, what it is to do; when standard input ends, so does it: nothing is left
behind when the supervisor is killed. What it has to say are lines of JSON on standard output:

    {"serving": true}                                    it answers
    {"error": ["unavailable", "text", 0]}                it could not be started: code of the class, text, errno
    {"drain": true}                                      a caller has asked for the whole server to stop
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn, TextIO

import structlog

from outcrop.errors import OutcropError
from outcrop.server.logs import configure_logs
from outcrop.server.place import Place
from outcrop.server.process import ServerProcess
from outcrop.server.serve import leave
from outcrop.server.settings import ServerSettings

_log = structlog.get_logger("outcrop.server")


def main() -> None:
    """Serve as the supervisor says."""
    given = json.loads(sys.stdin.readline())
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no message of ours
    settings = ServerSettings(**given["settings"])
    configure_logs(settings.log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the supervisor gets it too
    place = Place(given["writes"], Path(given["socket"]))
    try:
        asyncio.run(_serve(settings, place, said))
    except OutcropError as error:
        _say(said, error=[error.code, str(error), getattr(error, "errno", None) or 0])
        sys.exit(1)


async def _serve(settings: ServerSettings, place: Place, said: TextIO) -> NoReturn:
    process = ServerProcess(settings, place, lambda: _say(said, drain=True))
    orphaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, orphaned.set)  # nothing more is written to it: readable means that it has ended
    loop.add_signal_handler(signal.SIGTERM, process.drain_asked.set)
    try:
        await process.start()
        _say(said, serving=True)
        await _until_over(process, place, orphaned)
    except BaseException:
        await process.stop(0)
        raise
    await process.drain(settings.drain_seconds)
    leave()


async def _until_over(process: ServerProcess, place: Place, orphaned: asyncio.Event) -> None:
    """Until this process is to end: the writer goes on answering readers that drain, until its input ends."""
    waiting = {asyncio.ensure_future(event.wait()) for event in (process.drain_asked, orphaned)}
    _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    if place.writes and not orphaned.is_set():
        jobs = asyncio.ensure_future(process.stop_jobs())
        await orphaned.wait()
        if jobs.done():  # otherwise draining waits for them, but not for ever
            jobs.result()


def _say(said: TextIO, **message: Any) -> None:
    try:
        said.write(json.dumps(message) + "\n")
        said.flush()
    except BrokenPipeError:
        pass  # the supervisor is gone, and standard input will say so


if __name__ == "__main__":
    main()
