"""Rows of feature tables through a server: all of them, any of them, of the version that was named, and no more."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.server.test_index_service import ended, upload
from tests.serving import Served, serving

import outcrop
from outcrop.errors import InvalidArgument, NotFound
from outcrop.proto.documents import from_document
from outcrop.proto.tensors import from_tensor, numpy_dtype, to_tensor
from outcrop.types import AnyArray, FeatureStatistics
from outcrop.v1 import feature_pb2 as pb

ROWS = np.random.default_rng(0).random((20_000, 70), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path: Path = tmp_path_factory.mktemp("served") / "root"
    with outcrop.connect(path) as database:
        database.import_features("x", ROWS).wait()
        database.import_features("q", ROWS, codec="int8").wait()
        database.import_features("small", np.arange(10, dtype=np.int64)).wait()
    with serving(path, threads=1, memory="32MiB", limits={"message": "2MiB"}) as server:
        yield server


@pytest.fixture
def rpc(server: Served) -> Iterator[Rpc]:
    with Rpc(server.address) as rpc:
        yield rpc


def streamed(rpc: Rpc, **fields: Any) -> AnyArray:
    first, *others = rpc.stream(pb.StreamFeaturesRequest(**fields))
    data = b"".join(message.data for message in (first, *others))
    assert all(len(message.data) <= 1 << 20 for message in others)
    return np.frombuffer(data, numpy_dtype(first.header.dtype)).reshape(tuple(first.header.shape))


def test_a_table_tells_what_it_is(rpc: Rpc) -> None:
    table = rpc.call(pb.GetFeaturesRequest(name="q")).table

    assert (table.name, table.version, table.num_rows, list(table.row_shape)) == ("q", 1, 20_000, [70])
    assert (table.codec, table.row_bytes, table.logical_dtype) == ("int8", 74, "float32")
    assert [each.name for each in rpc.call(pb.ListFeaturesRequest()).tables] == ["q", "small", "x"]


def test_rows_are_read_in_one_message(rpc: Rpc) -> None:
    ids = np.array([7, 3, 7, 19_999], np.int32)

    response = rpc.call(pb.ReadFeaturesRequest(name="x", ids=to_tensor(ids)))

    np.testing.assert_array_equal(from_tensor(response.rows), ROWS[ids])
    assert response.version == 1


def test_more_than_a_message_holds_is_for_a_stream(rpc: Rpc) -> None:
    most = ((2 << 20) - 4096) // 280

    rpc.call(pb.ReadFeaturesRequest(name="x", ids=to_tensor(np.arange(most))))
    with pytest.raises(InvalidArgument, match="StreamFeatures has no such limit"):
        rpc.call(pb.ReadFeaturesRequest(name="x", ids=to_tensor(np.arange(most + 1))))


@pytest.mark.parametrize("count", [0, 1, 3744, 3745, 20_000])
def test_a_stream_brings_rows_in_the_order_asked_for(rpc: Rpc, count: int) -> None:
    ids = np.random.default_rng(count).integers(0, 20_000, count).astype(np.uint32)

    np.testing.assert_array_equal(streamed(rpc, name="x", ids=to_tensor(ids)), ROWS[ids])


def test_a_stream_brings_a_range(rpc: Rpc) -> None:
    found = streamed(rpc, name="x", range=pb.RowRange(start=5, stop=20_000))

    np.testing.assert_array_equal(found, ROWS[5:])


def test_rows_come_as_they_are_stored_where_that_is_asked_for(rpc: Rpc, server: Served) -> None:
    ids = np.arange(3000)

    coded = streamed(rpc, name="q", ids=to_tensor(ids), coded=True)

    assert coded.shape == (3000, 74)
    with outcrop.connect(server.path, read_only=True) as database, database.features("q") as table:
        np.testing.assert_array_equal(coded, table.fetch(ids, decode=False))
        np.testing.assert_array_equal(streamed(rpc, name="q", ids=to_tensor(ids)), table.fetch(ids))


@pytest.mark.parametrize(
    "fields",
    [
        {"ids": to_tensor(np.array([1, 20_000]))},
        {"ids": to_tensor(np.array([-1]))},
        {"ids": to_tensor(np.array([[1]]))},
        {"ids": to_tensor(np.array([0.5]))},
        {"range": pb.RowRange(start=3, stop=20_001)},
        {"range": pb.RowRange(start=5, stop=4)},
        {"range": pb.RowRange(start=-1, stop=4)},
        {},
    ],
)
def test_rows_that_are_not_there_are_refused(rpc: Rpc, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        streamed(rpc, name="x", **fields)


def test_another_version_or_another_table_is_not_taken_for_the_one_that_was_opened(rpc: Rpc) -> None:
    upload(rpc, "u1", rows=ROWS[:50])
    ended(rpc, rpc.call(pb.ImportFeaturesRequest(name="t", upload_id="u1", codec="float16")).job)
    opened = rpc.call(pb.GetFeaturesRequest(name="t")).table
    assert (opened.num_rows, opened.codec, opened.row_bytes) == (50, "float16", 140)
    ids = to_tensor(np.array([0]))
    rpc.call(pb.ReadFeaturesRequest(name="t", id=opened.id, version=1, ids=ids))

    with pytest.raises(NotFound, match="has no version 2"):
        rpc.call(pb.ReadFeaturesRequest(name="t", id=opened.id, version=2, ids=ids))
    rpc.call(pb.DeleteFeaturesRequest(name="t"))
    with pytest.raises(NotFound, match="no feature table 't'"):
        rpc.call(pb.ReadFeaturesRequest(name="t", id=opened.id, version=1, ids=ids))
    upload(rpc, "u2", rows=ROWS[50:90])
    ended(rpc, rpc.call(pb.ImportFeaturesRequest(name="t", upload_id="u2")).job)

    with pytest.raises(NotFound, match="dropped and made anew"):
        streamed(rpc, name="t", id=opened.id, version=1, ids=ids)
    np.testing.assert_array_equal(streamed(rpc, name="t", ids=ids), ROWS[50:51])
    rpc.call(pb.DeleteFeaturesRequest(name="t"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "../t", "upload_id": "u3"}, "feature table: expected 1 to 255"),
        ({"name": "t", "upload_id": "u4", "codec": "zip"}, "codec: expected raw"),
    ],
)
def test_an_import_is_checked_before_it_becomes_a_job(rpc: Rpc, fields: dict[str, str], said: str) -> None:
    upload(rpc, fields["upload_id"], rows=ROWS[:2])

    with pytest.raises(InvalidArgument, match=said):
        rpc.call(pb.ImportFeaturesRequest(**fields))


def test_an_import_without_its_upload_is_refused(rpc: Rpc) -> None:
    with pytest.raises(NotFound):
        rpc.call(pb.ImportFeaturesRequest(name="t", upload_id="nothing"))


def test_who_leaves_a_stream_ends_its_reads(rpc: Rpc, server: Served) -> None:
    ids = to_tensor(np.random.default_rng(0).integers(0, 20_000, 250_000).astype(np.uint32))
    before = rows_read(rpc)
    stream = rpc.stream(pb.StreamFeaturesRequest(name="x", ids=ids))
    next(stream)
    stream.close()

    # The table is free again at once: a slow reader's turn would come after 70 MB.
    np.testing.assert_array_equal(streamed(rpc, name="x", ids=to_tensor(np.array([4]))), ROWS[[4]])
    deadline = time.monotonic() + 20
    counts = [-1, rows_read(rpc)]
    while counts[-1] != counts[-2]:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        counts.append(rows_read(rpc))
    assert counts[-1] - before < 125_000


def rows_read(rpc: Rpc) -> int:
    return from_document(rpc.call(pb.GetFeaturesRequest(name="x")).table.statistics, FeatureStatistics).rows
