"""What a server tells of the calls that it answers: numbers, lines, and whether it is ready."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.serving import serving

import outcrop
from outcrop.errors import NotFound
from outcrop.proto.tensors import to_tensor
from outcrop.v1 import vector_pb2 as pb


@pytest.fixture
def root(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(1).standard_normal((500, 8), np.float32)
    with outcrop.connect(tmp_path / "root", memory="16MiB") as database:
        database.create_collection("docs", dim=8).build(vectors, memory="32MiB").wait()
    return tmp_path / "root"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_calls_are_counted_timed_and_logged(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    queries = to_tensor(np.zeros((3, 8), np.float32))
    port = free_port()
    settings: dict[str, Any] = {
        "metrics": {"listen": f"127.0.0.1:{port}", "dashboard": True},
        "log": {"format": "json", "level": "debug"},
    }
    with serving(root, **settings) as server:
        with Rpc(server.address, (("x-request-id", "r-17"),)) as rpc:
            rpc.call(pb.SearchRequest(collection="docs", queries=queries, k=2))
            with pytest.raises(NotFound):
                rpc.call(pb.SearchRequest(collection="none", queries=queries, k=2))
        ready, metrics = ask(port, "/readyz"), ask(port, "/metrics")[1]
        status = json.loads(ask(port, "/status.json")[1])
        server.stop()

    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    method = 'method="VectorService/Search"'
    assert ready == (200, "ready\n")
    assert f'outcrop_rpc_calls_total{{code="OK",{method}}} 1.0' in metrics
    assert f'outcrop_rpc_calls_total{{code="NOT_FOUND",{method}}} 1.0' in metrics
    assert f"outcrop_rpc_seconds_count{{{method}}} 2.0" in metrics
    assert 'outcrop_object_rows{kind="collections",name="docs"} 500.0' in metrics
    assert 'outcrop_memory_bytes{kind="collections",name="docs",owner="centroids"}' in metrics
    assert status["server"]["state"] == "serving"
    assert status["server"]["listen"] == server.address
    events = [line["message"] for line in lines]
    assert events[0] == "listening"
    assert events[-1] == "draining"
    calls = [line for line in lines if line["message"] == "call"]
    assert [(line["code"], line["level"], line["request_id"], line["caller"]) for line in calls] == [
        ("OK", "debug", "r-17", "anonymous"),
        ("NOT_FOUND", "info", "r-17", "anonymous"),
    ]
    assert "none" in calls[1]["error"]
    assert "error" not in calls[0]
