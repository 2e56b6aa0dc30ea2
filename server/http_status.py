"""The metrics port: /metrics, /healthz, /readyz, and the status page.

Threads of the standard library, not the event loop of the service: the port still answers when the loop is the problem,
and the process that starts workers has no loop at all. A scrape comes every few seconds, so threads cost nothing.
"""

import ipaddress
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from outcrop.errors import Unavailable
from outcrop.server.address import Address
from outcrop.server.status_document import status_document

_PAGES: Final = Path(__file__).parent / "dashboard"
_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/status.css": ("status.css", "text/css; charset=utf-8"),
    "/status.js": ("status.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/numbers.js": ("numbers.js", "text/javascript; charset=utf-8"),
}
_HEADERS: Final = {
    # Nothing but our own files, no scripts in the page, no frames around it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TEXT: Final = "text/plain; charset=utf-8"
_MOST_CONNECTIONS: Final = 16
_SECONDS_TO_ASK: Final = 5.0

Answer = tuple[HTTPStatus, str, bytes]
_FAULT: Final[Answer] = (HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"a fault of the server; its log tells more\n")
_log = structlog.get_logger("outcrop.status")


class StatusServer:
    """Answers on the metrics port from construction until `close`. A context manager."""

    def __init__(
        self,
        listen: Address,
        registry: CollectorRegistry,
        *,
        before_scrape: Callable[[], object] = lambda: None,
        is_ready: Callable[[], bool] = lambda: True,
        info: Callable[[], Mapping[str, Any]] = dict,
        dashboard: bool = False,
    ) -> None:
        """before_scrape: brings the registry up to date. is_ready: whether new calls are taken. info: plain values that
        the status page says of the server: version, address, state and the like. dashboard: whether there is a page.
        All three are called in other threads. Raises Unavailable when the address is taken."""
        self._registry, self._before_scrape = registry, before_scrape
        self._is_ready, self._info, self._dashboard = is_ready, info, dashboard
        self._scrape = threading.Lock()
        self._answers: dict[str, Callable[[str], Answer]] = {
            "/metrics": self._metrics,
            "/healthz": lambda _: (HTTPStatus.OK, _TEXT, b"ok\n"),
            "/readyz": self._ready,
        }
        if dashboard:
            self._answers |= {"/status.json": self._status} | dict.fromkeys(_FILES, self._file)
        self._only_local_names = listen.is_loopback
        self._listener = _bound(listen, self)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.1,), name="status", daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        """Where it listens; the port is that which the system chose."""
        host, port = self._listener.server_address[:2]
        return Address(str(host), int(port))

    def answer(self, path: str, host: str, accept: str) -> Answer:
        """Return the answer to a GET. host, accept: of its headers, or ""."""
        if self._only_local_names and not _is_local(host):
            # A page elsewhere could have its own name resolve to this machine and read what it must not.
            return HTTPStatus.MISDIRECTED_REQUEST, _TEXT, b"this port answers to its own address only\n"
        place = path.split("?", 1)[0]
        made = self._answers.get(place)
        if made is None:
            known = "".join(f"{each}\n" for each in self._answers)
            return HTTPStatus.NOT_FOUND, _TEXT, f"there is nothing at this path; try one of\n{known}".encode()
        return made(accept if place == "/metrics" else place)

    def close(self) -> None:
        """Stop answering."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def _metrics(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        with self._scrape:
            self._before_scrape()
            return HTTPStatus.OK, content_type, encode(self._registry)

    def _ready(self, _: str) -> Answer:
        if self._is_ready():
            return HTTPStatus.OK, _TEXT, b"ready\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"not ready\n"

    def _status(self, _: str) -> Answer:
        with self._scrape:
            self._before_scrape()
            document = status_document(self._registry, self._info())
        return HTTPStatus.OK, "application/json", json.dumps(document).encode()

    def _file(self, place: str) -> Answer:
        name, content_type = _FILES[place]
        return HTTPStatus.OK, content_type, (_PAGES / name).read_bytes()

    def __enter__(self) -> "StatusServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Request(BaseHTTPRequestHandler):
    """One connection, one answer."""

    timeout = _SECONDS_TO_ASK
    server_version, sys_version = "outcrop", ""
    server: "_Listener"

    def do_GET(self) -> None:
        """Answer with a body."""
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._send(with_body=False)

    def log_message(self, format: str, *_: object) -> None:
        """Probes and scrapes are no news."""

    def _send(self, with_body: bool) -> None:
        host, accept = (self.headers.get(name, "") for name in ("Host", "Accept"))
        try:
            status, content_type, body = self.server.status.answer(self.path, host, accept)
        except Exception:
            _log.exception("the numbers could not be read", path=self.path)
            status, content_type, body = _FAULT
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


class _Listener(ThreadingHTTPServer):
    """A bounded number of connections at a time; those beyond are closed at once."""

    daemon_threads = True

    def __init__(self, listen: Address, status: StatusServer) -> None:
        self.status = status
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__((listen.host, listen.port), _Request)

    def server_bind(self) -> None:
        """Without the look-up of the machine's name that HTTPServer does, which may wait for a name server."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread of its own, if one is free."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Run in that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked has left or is too slow, which is no news; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            _log.exception("a request to the metrics port failed")


def _bound(listen: Address, status: StatusServer) -> _Listener:
    try:
        return _Listener(listen, status)
    except OSError as error:
        raise Unavailable(f"metrics: cannot listen on {listen}: {error.strerror or error}") from error


def _is_local(host: str) -> bool:
    """Whether a Host header is an address or localhost, not a name that somebody chose."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name in ("", "localhost")
    return True
