"""The metrics port answers probes, scrapes and the status page, and nobody who should not ask."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outcrop.errors import Unavailable
from outcrop.server.address import Address
from outcrop.server.http_status import StatusServer
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage

LOCAL = Address("127.0.0.1", 0)
DASHBOARD = Path(__file__).parents[2] / "server" / "dashboard"
Reply = tuple[int, dict[str, str], bytes]


def ask(server: StatusServer, path: str, method: str = "GET", **headers: str) -> Reply:
    connection = http.client.HTTPConnection(server.address.host, server.address.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def start(metrics: ServerMetrics) -> Iterator[Callable[..., StatusServer]]:
    servers: list[StatusServer] = []

    def make(listen: Address = LOCAL, **options: Any) -> StatusServer:
        servers.append(StatusServer(listen, metrics.registry, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def test_a_scrape_tells_all_numbers_brought_up_to_date(
    start: Callable[..., StatusServer], metrics: ServerMetrics
) -> None:
    server = start(before_scrape=lambda: metrics.observe([ObjectUsage("graphs", "g", version=3)]))

    status, headers, body = ask(server, "/metrics")

    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert b'outcrop_object_version{kind="graphs",name="g"} 3.0' in body
    status, headers, body = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_probes_tell_alive_from_ready(start: Callable[..., StatusServer]) -> None:
    ready = [True]
    server = start(is_ready=lambda: ready[0])

    assert ask(server, "/healthz")[::2] == (200, b"ok\n")
    assert ask(server, "/readyz")[::2] == (200, b"ready\n")
    ready[0] = False
    assert ask(server, "/readyz")[::2] == (503, b"not ready\n")
    assert ask(server, "/healthz")[0] == 200


def test_the_status_page_is_served_only_when_asked_for(start: Callable[..., StatusServer]) -> None:
    assert ask(start(), "/")[0] == ask(start(), "/status.json")[0] == 404

    status, headers, body = ask(start(dashboard=True), "/")

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert body == (DASHBOARD / "index.html").read_bytes()


def test_every_file_of_the_page_is_served_and_loads_nothing_from_elsewhere(start: Callable[..., StatusServer]) -> None:
    server = start(dashboard=True)

    for file in DASHBOARD.iterdir():
        place = "/" if file.name == "index.html" else f"/{file.name}"
        assert ask(server, place)[::2] == (200, file.read_bytes())
        addresses = set(re.findall(rb"https?://[^\s\"'`]+", file.read_bytes()))
        assert addresses <= {b"http://www.w3.org/2000/svg"}
        assert b"innerHTML" not in file.read_bytes()


def test_the_document_holds_what_the_page_shows(start: Callable[..., StatusServer], metrics: ServerMetrics) -> None:
    server = start(dashboard=True, info=lambda: {"version": "1", "state": "draining"})
    search = metrics.method("VectorService/Search")
    search.begin()
    search.begin()
    search.end("OK", 0.0003)
    metrics.batch(8, 2)
    metrics.queued(1, 10)
    metrics.shed("queue")
    docs = ObjectUsage("collections", "docs", 2, 7, 99, {"centroids": 5}, {"list cache": 3, "device": 1}, 4, 40)
    metrics.observe([docs, ObjectUsage("plans", "gone")])
    metrics.observe([docs])

    document = json.loads(ask(server, "/status.json")[2])

    (method,) = document["methods"]
    assert (method["name"], method["in_flight"], method["codes"]) == ("VectorService/Search", 1, {"OK": 1})
    assert [count for bound, count in method["buckets"] if bound in (0.000256, 0.0004096)] == [0, 1]
    assert (document["queue"], document["shed"]) == ({"calls": 1, "bytes": 10}, {"queue": 1})
    assert document["searches"] == {"queries": 8, "core_calls": 1}
    assert document["server"]["state"] == "draining"
    assert document["objects"] == [
        {
            "kind": "collections", "name": "docs", "version": 2, "num_rows": 7, "disk_bytes": 99,
            "memory": {"centroids": 5}, "lookups": {"list cache": 3, "device": 1}, "reads": 4, "read_bytes": 40,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/../settings.py", "/..%2fsettings.py", "//etc/passwd", "/status.css/../../keys.py", "*", "/%00"],
)
def test_only_known_paths_are_answered(start: Callable[..., StatusServer], path: str) -> None:
    status, headers, body = ask(start(dashboard=True), path)

    assert status == 404
    assert headers["x-content-type-options"] == "nosniff"
    assert b"/metrics" in body


def test_only_reading_is_answered(start: Callable[..., StatusServer]) -> None:
    server = start()

    assert ask(server, "/healthz", "HEAD")[::2] == (200, b"")
    assert ask(server, "/healthz", "POST")[0] == 501


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:9464", "localhost.evil.example", "127.0.0.1.nip.io"]
)
def test_a_name_that_resolves_to_this_machine_is_no_way_in(start: Callable[..., StatusServer], host: str) -> None:
    server = start()

    assert ask(server, "/metrics", Host=host)[0] == 421
    for own in ("localhost", "localhost:9464", "127.0.0.1:1", "[::1]:1", "[::1]"):
        assert ask(server, "/metrics", Host=own)[0] == 200


def test_another_address_answers_to_any_name(start: Callable[..., StatusServer]) -> None:
    server = start(Address("0.0.0.0", 0))

    assert ask(server, "/healthz", Host="node3.lan:9464")[0] == 200


def test_a_fault_is_told_without_its_traceback(
    start: Callable[..., StatusServer], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("hidden")

    status, _, body = ask(start(before_scrape=fail), "/metrics")

    assert (status, body) == (500, b"a fault of the server; its log tells more\n")
    assert "hidden" in capsys.readouterr().out


def test_a_taken_address_is_told(start: Callable[..., StatusServer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(Unavailable, match=rf"metrics: cannot listen on {re.escape(str(address))}: Address already"):
            start(address)


def test_connections_beyond_the_bound_are_closed_and_later_ones_served(start: Callable[..., StatusServer]) -> None:
    server = start()
    place = (server.address.host, server.address.port)

    silent = [socket.create_connection(place, timeout=10) for _ in range(16)]
    with socket.create_connection(place, timeout=10) as refused:
        assert refused.recv(1) == b""
    for connection in silent:
        connection.close()

    for _ in range(100):
        try:
            assert ask(server, "/healthz")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            threading.Event().wait(0.05)
    else:
        pytest.fail("the port did not come back")


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000]
)
def test_nonsense_ends_the_connection_and_nothing_else(start: Callable[..., StatusServer], sent: bytes) -> None:
    server = start()

    with socket.create_connection((server.address.host, server.address.port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    assert ask(server, "/healthz")[0] == 200
