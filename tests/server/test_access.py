"""Who may call what: every RPC that the descriptors declare, with each way not to be allowed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.certificates import Authority, Certificate
from tests.rpcs import call, method_named, naming, status_of
from tests.server.graph_root import make_root
from tests.serving import Served, serving

from outcrop.embedded import connect
from outcrop.errors import OutcropError, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from outcrop.proto.methods import Method, methods
from outcrop.server.keys import create_key, revoke_key
from outcrop.server.settings import KEYS_FILE
from outcrop.v1 import access_pb2, collection_pb2

ALL = pytest.mark.parametrize("method", methods().values(), ids=lambda method: method.path.rpartition(".")[2])
UNLIMITED = [("grpc.max_send_message_length", -1)]
HIDDEN, ABSENT = "hidden", "absent"


@dataclass(frozen=True)
class Guarded:
    """A server that knows some keys. keys: by what is wrong with them, or their role."""

    server: Served
    channel: grpc.Channel
    keys: dict[str, str]

    def error(self, method: Method, request: Any, key: str | None) -> OutcropError | None:
        metadata = {} if key is None else {"authorization": f"Bearer {self.keys.get(key, key)}"}
        return status_of(self.channel, method, request, metadata=metadata)


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "several"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One process, and several, of which one asks for the key that another was shown."""
    root = tmp_path_factory.mktemp("access") / "root"
    make_root(root)
    with connect(root) as database:
        database.create_collection(HIDDEN, dim=2)
        database.create_snapshot(HIDDEN)
    path = root / KEYS_FILE
    keys = {role: create_key(path, role, role)[0] for role in ("read", "write", "admin")}
    keys["scoped"], _ = create_key(path, "scoped", "admin", ["*/mine-*"])
    keys["revoked"], _ = create_key(path, "revoked", "admin")
    keys["expired"], _ = create_key(path, "expired", "admin", expires_seconds=1e-9)
    revoke_key(path, "revoked")
    keys["unknown"] = f"oc_{'0' * 12}_{'A' * 43}"
    with serving(root) as server, grpc.insecure_channel(server.address, options=UNLIMITED) as channel:
        yield Guarded(server, channel, keys)


@ALL
@pytest.mark.parametrize("key", [None, "", "nonsense", "unknown", "revoked", "expired"])
def test_a_call_without_a_good_key_is_refused(guarded: Guarded, method: Method, key: str | None) -> None:
    assert isinstance(guarded.error(method, naming(method, HIDDEN), key), Unauthenticated)


@ALL
def test_a_role_that_is_too_small_is_refused(guarded: Guarded, method: Method) -> None:
    smaller = {access_pb2.ROLE_WRITE: "read", access_pb2.ROLE_ADMIN: "write"}.get(method.role)
    if smaller is None:
        assert method.role == access_pb2.ROLE_READ
        assert not isinstance(guarded.error(method, naming(method, ABSENT), "read"), PermissionDenied)
    else:
        assert isinstance(guarded.error(method, naming(method, HIDDEN), smaller), PermissionDenied)


@ALL
def test_what_is_out_of_scope_is_refused_whether_or_not_it_is_there(guarded: Guarded, method: Method) -> None:
    if not method.names:
        pytest.skip("names nothing")

    hidden = guarded.error(method, naming(method, HIDDEN), "scoped")
    absent = guarded.error(method, naming(method, ABSENT), "scoped")

    assert isinstance(hidden, PermissionDenied)
    assert str(hidden).replace(HIDDEN, ABSENT) == str(absent)


def test_what_a_stranger_sends_is_not_received(guarded: Guarded) -> None:
    longer_than_a_message_may_be = bytes(17 << 20)
    method = method_named("VectorService.Search")

    assert isinstance(guarded.error(method, longer_than_a_message_may_be, "unknown"), Unauthenticated)
    assert isinstance(guarded.error(method, longer_than_a_message_may_be, "read"), ResourceExhausted)


def test_refused_calls_have_done_nothing(guarded: Guarded) -> None:
    listing = method_named("CollectionService.ListCollections")

    (raw,) = call(guarded.channel, listing, listing.request(), {"x-api-key": guarded.keys["read"]})

    names = [found.name for found in collection_pb2.ListCollectionsResponse.FromString(raw).collections]
    assert names == [HIDDEN]


@pytest.mark.parametrize("kind", ["Collections", "Features", "Graphs", "Plans", "Snapshots"])
def test_lists_show_what_is_in_scope(guarded: Guarded, kind: str) -> None:
    (method,) = (each for each in methods().values() if each.name == f"List{kind}")

    (everything,) = call(guarded.channel, method, b"", {"x-api-key": guarded.keys["read"]})
    (seen,) = call(guarded.channel, method, b"", {"x-api-key": guarded.keys["scoped"]})

    assert everything != b""
    assert seen == b""


def test_a_key_is_good_from_its_making_to_its_revocation(guarded: Guarded) -> None:
    path = guarded.server.path / KEYS_FILE
    listing = method_named("CollectionService.ListCollections")
    key, _ = create_key(path, "passing")

    assert guarded.error(listing, b"", key) is None
    revoke_key(path, "passing")
    assert isinstance(guarded.error(listing, b"", key), Unauthenticated)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    own = authority.sign("server")
    tls = {"cert": str(own.cert), "key": str(own.key), "client_ca": str(authority.cert), "client_role": "write"}
    with serving(tmp_path_factory.mktemp("mutual") / "root", tls=tls) as server:
        yield server


def secure(server: Served, authority: Authority, shown: Certificate | None) -> grpc.Channel:
    key, chain = (None, None) if shown is None else (shown.key.read_bytes(), shown.cert.read_bytes())
    return grpc.secure_channel(server.address, grpc.ssl_channel_credentials(authority.cert.read_bytes(), key, chain))


@ALL
@pytest.mark.parametrize("shown", ["nothing", "expired", "of a stranger"])
def test_no_connection_without_a_good_certificate(
    mutual: Served, authority: Authority, tmp_path: Path, method: Method, shown: str
) -> None:
    certificate = {
        "nothing": lambda: None,
        "expired": lambda: authority.sign("expired", expired=True),
        "of a stranger": lambda: Authority(tmp_path, "stranger").sign("server"),
    }[shown]()

    with secure(mutual, authority, certificate) as channel:
        assert isinstance(status_of(channel, method, naming(method, "a")), Unavailable)


def test_a_certificate_gives_its_role(mutual: Served, authority: Authority) -> None:
    with secure(mutual, authority, authority.sign("trainer")) as channel:
        assert status_of(channel, method_named("CollectionService.ListCollections"), b"") is None
        drain = method_named("AdminService.Drain")
        error = status_of(channel, drain, b"")

    assert isinstance(error, PermissionDenied)
    assert "trainer has write" in str(error)


def test_a_client_in_clear_finds_no_server_behind_tls(mutual: Served) -> None:
    with grpc.insecure_channel(mutual.address) as channel:
        assert isinstance(status_of(channel, method_named("CollectionService.ListCollections"), b""), Unavailable)
