"""What a reader passes on to the writer: who calls, and nothing that the caller has made up."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.certificates import Authority
from tests.rpcs import method_named, status_of
from tests.serving import serving

from outcrop.errors import AlreadyExists, PermissionDenied, Unauthenticated
from outcrop.server.gate import CERTIFICATE
from outcrop.server.keys import create_key
from outcrop.server.settings import KEYS_FILE
from outcrop.v1.collection_pb2 import CollectionSpec, CreateCollectionRequest

CREATE = method_named("CollectionService.CreateCollection")
REQUEST = CreateCollectionRequest(name="c", spec=CollectionSpec(dim=2)).SerializeToString()


@pytest.fixture(params=["read", "write"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shown(tmp_path: Path, role: str) -> Iterator[grpc.Channel]:
    """A connection with the certificate of `trainer`, to a server of two readers and a writer."""
    authority = Authority(tmp_path)
    own, trainer = authority.sign("server"), authority.sign("trainer")
    tls = {"cert": str(own.cert), "key": str(own.key), "client_ca": str(authority.cert), "client_role": role}
    credentials = grpc.ssl_channel_credentials(
        authority.cert.read_bytes(), trainer.key.read_bytes(), trainer.cert.read_bytes()
    )
    with (
        serving(tmp_path / "root", tls=tls, workers=2) as server,
        grpc.secure_channel(server.address, credentials) as channel,
    ):
        yield channel


def test_the_writer_learns_whose_certificate_was_shown(shown: grpc.Channel, role: str) -> None:
    for metadata in ({}, {CERTIFICATE: b"somebody"}):
        error = status_of(shown, CREATE, REQUEST, metadata=metadata)
        if role == "read":
            assert isinstance(error, PermissionDenied)
            assert "trainer has read" in str(error)
        else:
            assert error is None or isinstance(error, AlreadyExists)


def test_the_writer_asks_for_the_key_itself(tmp_path: Path) -> None:
    good, _ = create_key(tmp_path / "root" / KEYS_FILE, "good", "write")
    with serving(tmp_path / "root", workers=2) as server, grpc.insecure_channel(server.address) as channel:
        for metadata in ({}, {"authorization": "Bearer x"}, {CERTIFICATE: b"good"}):
            assert isinstance(status_of(channel, CREATE, REQUEST, metadata=metadata), Unauthenticated)
        assert status_of(channel, CREATE, REQUEST, metadata={"authorization": f"Bearer {good}"}) is None
        assert status_of(channel, CREATE, REQUEST, metadata={"x-api-key": good}) is not None
