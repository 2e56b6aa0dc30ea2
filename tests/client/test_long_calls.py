"""Searches of more queries than a call may have, scans whose server is started again, connections with certificates."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tests.certificates import Authority
from tests.serving import serving

import outcrop
from outcrop.client import Retries, connect, connect_async
from outcrop.client.rpcs import vectors as vector_rpcs
from outcrop.errors import DeadlineExceeded, InvalidArgument, Unauthenticated, Unavailable

DIM, ROWS = 6, 2500
VECTORS = np.random.default_rng(2).random((ROWS, DIM), np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "root"
    with outcrop.connect(path, threads=1, memory="32MiB") as database:
        collection = database.create_collection("docs", dim=DIM)
        collection.build(VECTORS, memory="64MiB", num_centroids=20, copies=1).wait()
    return path


def test_more_queries_than_a_call_may_have_are_one_search(root: Path) -> None:
    queries = np.resize(VECTORS, (17_000, DIM))
    with serving(root, threads=1, memory="32MiB") as server, outcrop.connect(root, threads=1, memory="32MiB") as twin:
        expected = twin.collection("docs").search(queries, 3)
        with connect(server.url) as database:
            found = database.collection("docs").search(queries, 3)
            with pytest.raises(DeadlineExceeded):
                database.collection("docs").search(queries, 3, timeout=0.0)
            few = database.collection("docs").search(queries[:1500], 700, nprobe=2)  # 12.6 MB of neighbours

        async def awaited() -> outcrop.Neighbors:
            async with connect_async(server.url) as database:
                return await (await database.collection("docs")).search(queries, 3)

        again = asyncio.run(awaited())
    for answer in (found, again):
        assert np.array_equal(answer.ids, expected.ids)
        assert np.array_equal(answer.distances, expected.distances)
        assert answer.usage.queries == 17_000
        assert answer.latency_us.shape == (17_000,)
    assert few.ids.shape == (1500, 700)


def test_calls_are_split_by_count_and_by_bytes() -> None:
    assert vector_rpcs._most_queries(np.zeros((1, 8), np.float32), 1) == 16_384
    assert vector_rpcs._most_queries(np.zeros((1, 1024), np.float32), 1) == 2048
    assert vector_rpcs._most_queries(np.zeros((1, 8), np.float32), 16_384) == 42
    assert vector_rpcs._most_queries(np.zeros((0, 8), np.float32), 10) == 16_384


def test_a_scan_goes_on_when_its_server_is_started_again(root: Path) -> None:
    with serving(root, threads=1, memory="32MiB") as server:
        database = connect(server.url, retries=Retries(60, 0.1, 0.5))
        scan = database.collection("docs").scan(100)
        # Rows come in messages of 1 MiB, which hold all of these: the stream is broken before its first one is read.
        feed = vector_rpcs.Export("docs", database.collection("docs").spec, 0, None)
        stream = database._channel.stream(feed)
        next(stream)  # the version, without rows
        server.kill()
    with serving(root, threads=1, memory="32MiB", listen=server.address):
        rows = [ids for ids, _ in stream]
        assert sum(len(ids) for ids in rows) == ROWS
        assert sum(len(ids) for ids, _ in scan) == ROWS
    database.close()


def test_encrypted_connections_show_and_check_certificates(root: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, mine = authority.sign("server"), authority.sign("me")
    tls = {"cert": str(own.cert), "key": str(own.key), "client_ca": str(authority.cert), "client_role": "read"}
    patience = Retries(attempts=1)
    with serving(root, threads=1, memory="32MiB", tls=tls) as server:
        url = f"grpcs://{server.address}"
        with outcrop.connect(url, ca=authority.cert, certificate=mine.cert, key=mine.key) as database:
            assert database.collection_names() == ["docs"]
        for options in ({"ca": authority.cert}, {}):
            with connect(url, retries=patience, **options) as stranger, pytest.raises((Unavailable, Unauthenticated)):
                stranger.collection_names()
        with connect(f"grpc://{server.address}", retries=patience) as plain, pytest.raises(Unavailable):
            plain.collection_names()
    with pytest.raises(InvalidArgument, match="grpcs://"):
        connect("grpc://h", ca=authority.cert)
