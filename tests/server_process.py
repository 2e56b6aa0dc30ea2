"""A server in a process of its own. Run by serving.py: the settings as JSON in the first argument, the port on stdout;
ends with SIGTERM, or when whoever started it is gone."""

import json
import os
import signal
import sys
import threading

from outcrop.server.serve import serve
from outcrop.server.settings import ServerSettings


def end_with_stdin() -> None:
    sys.stdin.read()  # nothing is ever written to it
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    serve(ServerSettings(**json.loads(sys.argv[1])), lambda serving: print(serving.address.port, flush=True))
