"""Servers for tests: real processes on ports of their own.

with serving(tmp_path) as server:
    with outcrop.connect(server.url) as database: ...
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("server_process.py")
QUIET = {"listen": "127.0.0.1:0", "metrics": {"listen": "off"}, "drain_seconds": 10, "log": {"level": "warning"}}


@dataclass(frozen=True)
class Served:
    """A server that answers. url: for `outcrop.connect`. address: HOST:PORT. path: of its root."""

    path: Path
    address: str
    process: "subprocess.Popen[str]"

    @property
    def url(self) -> str:
        return f"grpc://{self.address}"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def stop(self, timeout: float = 30) -> int:
        """Let it drain, as SIGTERM does, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(path: Path, **settings: Any) -> Iterator[Served]:
    """A server of the root `path`, which is made if need be; ended at the end. settings: of `ServerSettings`, as JSON
    has them; by default no metrics, any free port. To start it again on its port: `listen=served.address`."""
    given = json.dumps({"path": str(path), **QUIET, **settings})
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline()
            assert port, f"the server ended with {process.wait()} before it listened"
            host = json.loads(given)["listen"].rpartition(":")[0]
            yield Served(path, f"{host}:{int(port)}", process)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
