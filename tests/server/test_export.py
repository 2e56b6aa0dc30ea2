"""An export through a server streams what a scan gives out, from any row, of one version."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.serving import serving

from outcrop.embedded import Collection, connect
from outcrop.errors import InvalidArgument, NotFound
from outcrop.proto.tensors import from_ids, from_tensor
from outcrop.types import AnyArray
from outcrop.v1 import vector_pb2 as pb

NUM_ROWS, DIM = 4000, 300  # 4.8 MB, several messages


@pytest.fixture(scope="module", params=["int64", "string"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rpc, Collection]]:
    root: Path = tmp_path_factory.mktemp("exported") / "root"
    rows = np.random.default_rng(2).normal(size=(NUM_ROWS, DIM)).astype(np.float32)
    with connect(root, memory="64MiB", threads=1) as database:
        collection = database.create_collection("docs", dim=DIM, id_type=request.param)
        ids = [f"row {row}" for row in range(NUM_ROWS)] if request.param == "string" else None
        collection.build(rows, ids, memory="64MiB", code="sq8", num_centroids=8, copies=1).wait()
        database.create_collection("empty", dim=2)
        with serving(root, memory="64MiB") as server, Rpc(server.address) as rpc:
            yield rpc, collection


def messages(rpc: Rpc, **request: Any) -> list[pb.ExportResponse]:
    """What comes behind the first message, which has no rows."""
    first, *rest = rpc.stream(pb.ExportRequest(**request))
    assert (first.version, first.num_rows, first.start_row) == (1, NUM_ROWS, request.get("start_row", 0))
    assert not first.HasField("ids")
    assert not first.HasField("vectors")
    return rest


def whole(responses: list[pb.ExportResponse]) -> tuple[AnyArray, AnyArray]:
    vectors = [from_tensor(response.vectors) for response in responses]
    ids = [from_ids(response.ids, (len(rows),)) for response, rows in zip(responses, vectors, strict=True)]
    return np.concatenate(ids), np.concatenate(vectors)


def test_an_export_is_a_scan_in_messages_of_a_mebibyte(exported: tuple[Rpc, Collection]) -> None:
    rpc, collection = exported
    responses = messages(rpc, collection="docs")

    expected = [np.concatenate(parts) for parts in zip(*collection.scan(), strict=True)]
    found = whole(responses)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
    assert len(responses) == {"int64": 5, "string": 9}[collection.spec.id_type]  # texts may have 1 KiB
    assert {(response.version, response.num_rows) for response in responses} == {(1, NUM_ROWS)}
    begins = np.cumsum([0, *(len(from_tensor(response.vectors)) for response in responses)])[:-1]
    assert [response.start_row for response in responses] == begins.tolist()


def test_an_export_goes_on_where_it_was_interrupted(exported: tuple[Rpc, Collection]) -> None:
    rpc, _ = exported
    every = whole(messages(rpc, collection="docs"))
    rest = whole(messages(rpc, collection="docs", start_row=3997, version=1))

    assert np.array_equal(rest[0], every[0][3997:])
    assert np.array_equal(rest[1], every[1][3997:])
    assert messages(rpc, collection="docs", start_row=NUM_ROWS) == []


def test_an_export_that_is_left_hinders_nobody(exported: tuple[Rpc, Collection]) -> None:
    rpc, _ = exported
    for _ in range(20):
        responses = rpc.stream(pb.ExportRequest(collection="docs"))
        next(responses)
        del responses
    assert len(whole(messages(rpc, collection="docs"))[0]) == NUM_ROWS


def test_what_cannot_be_exported_is_refused(exported: tuple[Rpc, Collection]) -> None:
    rpc, _ = exported
    with pytest.raises(NotFound, match="version 7 is not the open one, which is 1"):
        list(rpc.stream(pb.ExportRequest(collection="docs", version=7)))
    for row in (-1, NUM_ROWS + 1):
        with pytest.raises(InvalidArgument, match=f"start_row: expected 0 to {NUM_ROWS}"):
            list(rpc.stream(pb.ExportRequest(collection="docs", start_row=row)))
    with pytest.raises(NotFound, match="no version yet"):
        list(rpc.stream(pb.ExportRequest(collection="empty")))
    with pytest.raises(NotFound, match="no collection 'none'"):
        list(rpc.stream(pb.ExportRequest(collection="none")))
