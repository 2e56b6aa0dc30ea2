"""The port that clients reach: in clear, over TLS, or over TLS with certificates on both sides."""

import ssl
from pathlib import Path

import grpc

from outcrop.errors import InvalidArgument, Unavailable
from outcrop.server.settings import ServerSettings, Tls


def bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    """Bind the address of the settings and return the port, which the system has chosen where it was 0.

    Raises InvalidArgument for files that are no certificates or keys, Unavailable when the port is taken or the address
    is none of this machine.
    """
    address = str(settings.listen)
    credentials = _credentials(settings.tls) if settings.tls.enabled else None
    try:
        if credentials is not None:
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise Unavailable(
            f"{address}: cannot be bound: another process has it, or it is no address of this machine"
        ) from error


def bind_socket(server: grpc.aio.Server, path: Path) -> None:
    """Bind a unix socket that only this user reaches; it lies in a folder of the user's own."""
    path.unlink(missing_ok=True)  # of a process that was killed
    server.add_insecure_port(f"unix:{path}")
    path.chmod(0o600)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    assert tls.cert is not None
    assert tls.key is not None
    _check(tls.cert, tls.key, tls.client_ca)
    authority = None if tls.client_ca is None else tls.client_ca.read_bytes()
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.cert.read_bytes())],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )


def _check(cert: Path, key: Path, authority: Path | None) -> None:
    """Say what is wrong with the files; grpc only says that the port cannot be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")  # an encrypted key fails, instead of asking a terminal
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"tls: expected PEM files of a certificate and its key, not encrypted; found {cert} and {key}: {error}"
        ) from error
    try:
        if authority is not None:
            context.load_verify_locations(authority)
    except OSError as error:
        raise InvalidArgument(f"tls.client_ca: expected certificates in PEM, found {authority}: {error}") from error
