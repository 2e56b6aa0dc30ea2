"""Searches through a server: the answers of the embedded engine, whoever asks at the same time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.rpcs import call, method_named
from tests.serving import serving

from outcrop.embedded import Collection, connect
from outcrop.errors import DeadlineExceeded, InvalidArgument, NotFound, OutcropError
from outcrop.proto.tensors import from_ids, from_tensor, to_tensor
from outcrop.types import AnyArray
from outcrop.v1 import vector_pb2 as pb

SEED = 11
SEARCH = method_named("VectorService.Search")
SPECS = {
    "floats": {"dim": 24, "metric": "l2", "dtype": "float32"},
    "bytes": {"dim": 300, "metric": "l2", "dtype": "uint8"},
    "texts": {"dim": 24, "metric": "cosine", "dtype": "float32", "id_type": "string"},
}


@dataclass(frozen=True)
class Searched:
    channel: grpc.Channel
    embedded: dict[str, Collection]

    def search(self, collection: str, queries: AnyArray, k: int = 10, **options: Any) -> pb.SearchResponse:
        request = pb.SearchRequest(collection=collection, k=k, queries=to_tensor(queries), **options)
        return pb.SearchResponse.FromString(call(self.channel, SEARCH, request)[0])

    def check(self, collection: str, queries: AnyArray, answer: pb.SearchResponse) -> None:
        expected = self.embedded[collection].search(queries, 10)
        np.testing.assert_array_equal(from_ids(answer.ids, expected.ids.shape), expected.ids)
        np.testing.assert_array_equal(from_tensor(answer.distances), expected.distances)


def vectors(collection: str, rows: int, seed: int) -> AnyArray:
    random = np.random.default_rng(seed)
    shape = rows, SPECS[collection]["dim"]
    if collection == "bytes":
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module", params=[True, False], ids=["batched", "one by one"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    root: Path = tmp_path_factory.mktemp("searched") / "root"
    with connect(root, memory="64MiB") as database:
        collections = {name: database.create_collection(name, **spec) for name, spec in SPECS.items()}  # type: ignore[arg-type]
        for name, collection in collections.items():
            ids = [f"row {row}" for row in range(3000)] if name == "texts" else None
            collection.build(vectors(name, 3000, SEED), ids, memory="64MiB").wait()
        database.create_collection("empty", dim=2)
        with (
            serving(root, batching={"enabled": request.param}) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            yield Searched(channel, collections)


@pytest.mark.parametrize("collection", SPECS)
@pytest.mark.parametrize("num_queries", [0, 1, 7, 300])
def test_a_search_answers_as_the_embedded_one(searched: Searched, collection: str, num_queries: int) -> None:
    queries = vectors(collection, num_queries, SEED + 1)

    answer = searched.search(collection, queries)

    searched.check(collection, queries, answer)
    assert answer.usage.queries == num_queries
    assert answer.batched_with == 0


@pytest.mark.parametrize("collection", SPECS)
def test_searches_at_once_get_their_own_answers(searched: Searched, collection: str) -> None:
    several = [vectors(collection, 1 + each % 4, SEED + each) for each in range(120)]
    if collection == "bytes":  # floats that are bytes, and some that are none
        several = [rows.astype(np.float32) + (0.5 if each % 5 == 0 else 0) for each, rows in enumerate(several)]

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda rows: searched.search(collection, rows), several))

    for rows, answer in zip(several, answers, strict=True):
        searched.check(collection, rows, answer)
        assert answer.usage.queries == len(rows)


def test_a_wrong_query_fails_alone(searched: Searched) -> None:
    good = vectors("floats", 60, SEED)
    wrong = {
        5: np.full((1, 24), np.nan, np.float32),
        17: vectors("floats", 1, 1)[:, :20],
        33: np.full((2, 24), np.inf, np.float32),
        44: np.full((1, 24), 3e38, np.float32),
    }

    def ask(each: int) -> pb.SearchResponse | OutcropError:
        try:
            return searched.search("floats", wrong.get(each, good[each : each + 1]))
        except OutcropError as error:
            return error

    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(ask, range(60)))

    for each, answer in enumerate(answers):
        if each in wrong:
            with pytest.raises(InvalidArgument) as expected:
                searched.embedded["floats"].search(wrong[each])
            assert isinstance(answer, InvalidArgument)
            assert str(answer) == str(expected.value)
        else:
            assert isinstance(answer, pb.SearchResponse)
            searched.check("floats", good[each : each + 1], answer)


@pytest.mark.parametrize(
    "options",
    [{"k": 0}, {"recall": 0.0}, {"recall": 1.5}, {"recall": float("nan")}, {"nprobe": 0}, {"recall": 0.9, "nprobe": 3}],
    ids=str,
)
def test_wrong_options_are_told_as_embedded(searched: Searched, options: dict[str, Any]) -> None:
    query = vectors("floats", 1, SEED)
    with pytest.raises(InvalidArgument) as expected:
        searched.embedded["floats"].search(query, **options)

    with pytest.raises(InvalidArgument) as found:
        searched.search("floats", query, **options)

    assert str(found.value) == str(expected.value)


def test_what_is_not_there_is_not_found(searched: Searched) -> None:
    with pytest.raises(NotFound):
        searched.search("nothing", vectors("floats", 1, SEED))
    with pytest.raises(NotFound):
        searched.search("empty", np.zeros((1, 2), np.float32))


def test_exact_and_separate_searches_answer_too(searched: Searched) -> None:
    queries = vectors("floats", 5, SEED)

    exact = searched.search("floats", queries, exact=True)
    apart = searched.search("floats", queries, separate_reads=True)

    np.testing.assert_array_equal(
        from_ids(exact.ids, (5, 10)), searched.embedded["floats"].search(queries, exact=True).ids
    )
    searched.check("floats", queries, apart)


def test_a_search_ends_with_its_deadline(searched: Searched) -> None:
    request = pb.SearchRequest(collection="floats", k=10, queries=to_tensor(vectors("floats", 4000, SEED)), exact=True)

    with pytest.raises(DeadlineExceeded):
        call(searched.channel, SEARCH, request, timeout=0.005)

    query = vectors("floats", 1, SEED)
    searched.check("floats", query, searched.search("floats", query))
