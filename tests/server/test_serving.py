"""What tests use to start servers: it answers, drains, and starts again on its port."""

from pathlib import Path

import grpc
from tests.serving import serving

from outcrop.v1.collection_pb2 import ListCollectionsRequest, ListCollectionsResponse


def names(address: str) -> list[str]:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/outcrop.v1.CollectionService/ListCollections",
            ListCollectionsRequest.SerializeToString,
            ListCollectionsResponse.FromString,
        )
        return [found.name for found in call(ListCollectionsRequest(), timeout=10).collections]


def test_a_server_answers_drains_and_starts_again_on_its_port(tmp_path: Path) -> None:
    with serving(tmp_path / "root") as server:
        assert names(server.address) == []
        assert server.stop() == 0

    with serving(tmp_path / "root", listen=server.address) as again:
        assert again.address == server.address
        assert names(again.address) == []
