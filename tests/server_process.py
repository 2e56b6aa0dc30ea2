"""A server in a process of its own. Run by serving.py: the settings as JSON in the first argument, the port on stdout;
ends with SIGTERM, or when whoever started it is gone."""

import asyncio
import json
import signal
import sys

from outcrop.server.logs import configure_logs
from outcrop.server.process import ServerProcess
from outcrop.server.settings import ServerSettings


async def main(settings: ServerSettings) -> None:
    configure_logs(settings.log)
    process = ServerProcess(settings)
    await process.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_reader(sys.stdin, ended.set)  # nothing is ever written to it: readable means closed
    print(process.port, flush=True)
    await ended.wait()
    await process.stop(settings.drain_seconds)


if __name__ == "__main__":
    asyncio.run(main(ServerSettings(**json.loads(sys.argv[1]))))
