"""Every limit at, below and above."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from tests.rpcs import call, method_named, naming, status_of
from tests.serving import serving

from outcrop.embedded import connect
from outcrop.errors import InvalidArgument, NotFound, OutcropError, PermissionDenied, ResourceExhausted
from outcrop.proto.methods import Method, methods
from outcrop.proto.status import Overloaded
from outcrop.proto.tensors import to_tensor
from outcrop.v1 import collection_pb2, vector_pb2

MESSAGE_BYTES = 64 << 10
LIMITS = {"message": MESSAGE_BYTES, "k": 40, "queries": 30, "dimension": 50, "calls": 4, "streams": 2}
NAMES = [method for method in methods().values() if method.names]
ESCAPES = ("..", "../x", "a/b", "/etc/passwd", ".hidden", "a\x00b", "x" * 256, "ä", "a b", "-a", "C:\\x", "%2e%2e")


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpc.Channel]:
    root: Path = tmp_path_factory.mktemp("limits") / "root"
    with connect(root, memory="32MiB") as database:
        collection = database.create_collection("c", dim=4)
        collection.build(np.random.default_rng(1).standard_normal((500, 4)), memory="32MiB").wait()
    options = [("grpc.max_send_message_length", -1)]
    with serving(root, limits=LIMITS) as server, grpc.insecure_channel(server.address, options=options) as opened:
        yield opened


def search(queries: int, k: int, dim: int = 4) -> Message:
    rows = np.zeros((queries, dim), np.float32)
    return vector_pb2.SearchRequest(collection="c", k=k, queries=to_tensor(rows))


def making(name: str, dim: int) -> Message:
    return collection_pb2.CreateCollectionRequest(name=name, spec=collection_pb2.CollectionSpec(dim=dim))


def padded(num_bytes: int) -> bytes:
    """A request of so many bytes: a field that nobody knows fills it up."""
    tag, head = b"\xfa\x7f", 5  # field 2047 of bytes, with a length of three bytes
    length = num_bytes - head
    return tag + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + bytes(length)


@pytest.mark.parametrize(
    ("name", "make", "limit", "error"),
    [
        ("VectorService.Search", lambda k: search(1, k), LIMITS["k"], InvalidArgument),
        ("VectorService.Search", lambda queries: search(queries, 10), LIMITS["queries"], InvalidArgument),
        (
            "CollectionService.CreateCollection",
            lambda dim: making(f"d{dim}", dim),
            LIMITS["dimension"],
            InvalidArgument,
        ),
        ("CollectionService.CreateCollection", lambda long: making("x" * long, 2), 255, InvalidArgument),
        ("CollectionService.ListCollections", padded, MESSAGE_BYTES, ResourceExhausted),
    ],
    ids=["k", "queries", "dimension", "name", "message"],
)
def test_a_limit_holds(
    channel: grpc.Channel, name: str, make: Callable[[int], Any], limit: int, error: type[OutcropError]
) -> None:
    method = method_named(name)

    assert status_of(channel, method, make(limit - 1)) is None
    assert status_of(channel, method, make(limit)) is None
    found = status_of(channel, method, make(limit + 1))

    assert type(found) is error
    assert str(limit) in str(found)


def test_an_answer_that_would_be_too_long_is_refused_before_it_is_made(tmp_path: Path) -> None:
    limits = {"message": 8 << 10, "k": 1000}
    with connect(tmp_path / "root", memory="32MiB") as database:
        database.create_collection("c", dim=4).build(np.eye(4, dtype=np.float32), memory="32MiB").wait()
    with serving(tmp_path / "root", limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        method = method_named("VectorService.Search")
        fitting = ((8 << 10) - 4096) // (10 * 12 + 4)

        (answer,) = call(channel, method, search(fitting, 10))
        assert len(answer) <= 8 << 10
        error = status_of(channel, method, search(fitting + 1, 10))
        assert isinstance(error, InvalidArgument)
        assert "several calls" in str(error)


@pytest.mark.parametrize("method", NAMES, ids=lambda method: method.path.rpartition(".")[2])
@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_no_name_leaves_its_folder(channel: grpc.Channel, method: Method, name: str) -> None:
    error = status_of(channel, method, naming(method, name))

    assert isinstance(error, InvalidArgument | NotFound | PermissionDenied), error


def test_what_there_is_no_place_for_is_refused_with_a_hint(tmp_path: Path) -> None:
    with connect(tmp_path / "root", memory="32MiB") as database:
        rows = np.random.default_rng(1).standard_normal((20_000, 32))
        database.create_collection("c", dim=32).build(rows, memory="32MiB").wait()
    method = method_named("VectorService.Search")
    queries = to_tensor(np.zeros((100, 32), np.float32))
    slow = vector_pb2.SearchRequest(collection="c", k=10, queries=queries, exact=True)
    limits = {"calls": 1, "queue": 1}
    with serving(tmp_path / "root", limits=limits) as server, grpc.insecure_channel(server.address) as channel:
        with ThreadPoolExecutor(8) as threads:
            errors = list(threads.map(lambda _: status_of(channel, method, slow), range(40)))

        refused = [error for error in errors if error is not None]
        assert refused
        assert len(refused) < 40
        for error in refused:
            assert isinstance(error, Overloaded), error
            assert error.retry_seconds > 0
        assert status_of(channel, method, slow) is None


@pytest.mark.parametrize("seconds", [1e-9, 1e-4])
def test_a_deadline_that_is_over_is_told(channel: grpc.Channel, seconds: float) -> None:
    error = status_of(channel, method_named("VectorService.Search"), search(1, 1), timeout=seconds)

    assert error is None or error.code == "deadline_exceeded"


def test_streams_that_are_open_are_counted_and_given_back(channel: grpc.Channel) -> None:
    method = method_named("VectorService.Export")
    request = vector_pb2.ExportRequest(collection="c").SerializeToString()

    for _ in range(3 * LIMITS["streams"]):
        assert len(call(channel, method, request)) >= 1
