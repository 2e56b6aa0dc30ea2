"""Where a server is, and how it is spoken to."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from outcrop.errors import InvalidArgument, NotFound

API_KEY_VARIABLE = "OUTCROP_API_KEY"
DEFAULT_PORT = 7443
_SCHEMES = {"grpc": False, "grpcs": True}
# A name or an IPv4 address, or an IPv6 address in brackets; then a port.
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_FORMS = "grpc://HOST:PORT, grpcs://HOST:PORT or unix:///PATH"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is made before its error is raised, and the pauses between: doubled each time, with jitter."""

    attempts: int = 5
    first_seconds: float = 0.1
    longest_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server. `parse_endpoint` makes one of an URL. Plain data, so it travels to other processes; the API key too.

    target: as grpc writes it. ca: PEM file of who signs the server's certificate, by default the roots that grpc brings
    along. certificate, key: PEM files, for servers that ask for the client's. timeout: seconds for a call that states
    none; None for as long as it takes. message_bytes: the longest message that is taken from the server.
    """

    target: str
    secure: bool = False
    api_key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout: float | None = 60.0
    retries: Retries = Retries()
    message_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not self.secure and (self.ca or self.certificate or self.key):
            raise InvalidArgument("ca, certificate and key are for grpcs://: an unencrypted connection has none")
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgument("certificate and key go together: expected both or neither")
        if self.timeout is not None and not self.timeout > 0:
            raise InvalidArgument(f"timeout: expected seconds above 0, or None, found {self.timeout!r}")

    @property
    def url(self) -> str:
        """As people write it."""
        if self.target.startswith("unix:"):
            return f"unix://{self.target.removeprefix('unix:')}"
        return f"{'grpcs' if self.secure else 'grpc'}://{self.target}"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with each call."""
        return () if self.api_key is None else (("authorization", f"Bearer {self.api_key}"),)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the certificates. Raises NotFound."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))

    def options(self) -> list[tuple[str, Any]]:
        """Return the options of a channel."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes),
            # What is too long, the server says: it knows its limit.
            ("grpc.max_send_message_length", -1),
            # A peer that is gone without a word is noticed while a call waits for it.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # grpc would wait up to two minutes before it tries a restarted server again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            # Streams are read by whoever waits for them, without a thread of their own, which no fork would survive.
            ("SingleThreadedUnaryStream", 1),
            # Two connections to one server are two, not one that grpc shares behind our back.
            ("grpc.use_local_subchannel_pool", 1),
        ]


def parse_endpoint(
    url: str,
    *,
    api_key: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    timeout: float | None = 60.0,
    retries: Retries | None = None,
) -> Endpoint:
    """Return the endpoint that a URL means: grpc://HOST:PORT, grpcs://HOST:PORT (with TLS), unix:///PATH, HOST:PORT.

    Without a port 7443. api_key: by default that of the variable OUTCROP_API_KEY. Others: see `Endpoint`.
    Raises InvalidArgument.
    """
    target, secure = _target(url)
    return Endpoint(
        target,
        secure,
        api_key if api_key is not None else os.environ.get(API_KEY_VARIABLE) or None,
        None if ca is None else Path(ca),
        None if certificate is None else Path(certificate),
        None if key is None else Path(key),
        timeout,
        retries or Retries(),
    )


def _target(url: str) -> tuple[str, bool]:
    if url.startswith("unix:"):
        path = url.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise InvalidArgument(f"endpoint: expected an absolute path such as unix:///run/outcrop.sock, found {url}")
        return f"unix:{path}", False
    scheme, found, authority = url.rpartition("://")
    match = _AUTHORITY.fullmatch(authority)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65_536 or (found and scheme not in _SCHEMES):
        raise InvalidArgument(f"endpoint: expected {_FORMS}, found {url}")
    return f"{match['host']}:{port}", _SCHEMES[scheme] if found else False


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path}: expected a PEM file: {error.strerror}") from error
