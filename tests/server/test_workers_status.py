"""Several processes are one server on the metrics port."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.server.rpc import Rpc

from outcrop.v1.collection_pb2 import CollectionSpec, CreateCollectionRequest, ListCollectionsRequest

METHOD = "CollectionService/ListCollections"


@dataclass
class Server:
    """`outcrop serve` with two workers. address: of the service. metrics: of the metrics port."""

    process: "subprocess.Popen[str]"
    address: str
    metrics: str
    workers: dict[str, int]

    def document(self) -> dict[str, Any]:
        host, port = self.metrics.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/status.json")
            document: dict[str, Any] = json.loads(connection.getresponse().read())
            return document

    def calls(self, name: str = METHOD) -> float:
        methods = {method["name"]: method for method in self.document()["methods"]}
        return float(methods.get(name, {"codes": {}})["codes"].get("OK", 0))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        metrics = f"127.0.0.1:{listener.getsockname()[1]}"
    arguments = ["serve", "--path", str(tmp_path / "root"), "--listen", "127.0.0.1:0", "--workers", "2", "--dashboard"]
    program = "from outcrop.cli import main; main()"
    environment = os.environ | {"OUTCROP_LOG__LEVEL": "warning"}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--metrics", metrics, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            announced = json.loads(_document(process))
            yield Server(process, announced["url"].removeprefix("grpc://"), metrics, announced["processes"])
        finally:
            process.terminate()
            process.wait(60)


def _document(process: "subprocess.Popen[str]") -> str:
    """The first JSON document that it prints."""
    text = ""
    assert process.stdout is not None
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            return text
    raise AssertionError(f"the server ended with {process.wait()}: {text}")


def wait_until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def test_calls_of_all_workers_are_counted_together_also_of_those_that_died(server: Server) -> None:
    with Rpc(server.address) as rpc:
        rpc.call(CreateCollectionRequest(name="docs", spec=CollectionSpec(dim=4)))
    for _ in range(12):
        with Rpc(server.address) as rpc:  # each channel may reach another worker
            rpc.call(ListCollectionsRequest())
    wait_until(lambda: server.calls() == 12)
    assert server.calls("CollectionService/CreateCollection") == 1  # by the reader that passed it on, or the writer
    document = server.document()

    reader = next(pid for name, pid in server.workers.items() if name.startswith("reader"))
    os.kill(reader, signal.SIGKILL)
    wait_until(lambda: server.document()["resident_bytes"] > 0)

    assert document["server"]["state"] == "serving"
    wait_until(
        lambda: [each["name"] for each in server.document()["objects"] if each["kind"] == "collections"] == ["docs"]
    )
    assert server.calls() == 12
    with Rpc(server.address) as rpc:
        rpc.call(ListCollectionsRequest())
    wait_until(lambda: server.calls() == 13)
    server.process.terminate()
    assert server.process.wait(60) == 0
