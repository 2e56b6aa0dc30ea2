"""Searching, scanning: same answers, same costs, same refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.blocking import LoopThread
from tests.conformance.conftest import MEMORY, PLACES, connected
from tests.conformance.refusals import refusal
from tests.serving import serving

import outcrop
from outcrop.errors import DeadlineExceeded

ROWS = 1500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a collection."""
    root = tmp_path_factory.mktemp("searched") / "root"
    vectors = np.random.default_rng(3).normal(size=(ROWS, 40)).astype(np.float32)
    with outcrop.connect(root, threads=1, memory=MEMORY) as database:
        collection = database.create_collection("docs", dim=40)
        collection.build(vectors, memory="64MiB", code="sq8", num_centroids=30, copies=1).wait()
    return root


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder, threads=1, memory=MEMORY) as server:
        yield server.url


@pytest.fixture(scope="module", params=PLACES)
def pair(request: pytest.FixtureRequest, folder: Path, thread: LoopThread) -> Iterator[tuple[Any, Any]]:
    """A collection under test, and its embedded twin."""
    place = request.getfixturevalue("url") if request.param.startswith("served") else folder
    with outcrop.connect(folder, threads=1, memory=MEMORY) as twin, connected(request.param, place, thread) as database:
        yield database.collection("docs"), twin.collection("docs")


QUERIES = np.random.default_rng(4).normal(size=(25, 40)).astype(np.float32)
SEARCHES: dict[str, dict[str, Any]] = {
    "default": {},
    "one query": {"queries": QUERIES[0]},
    "none": {"queries": QUERIES[:0]},
    "doubles": {"queries": QUERIES.astype(np.float64)},
    "lists": {"queries": QUERIES[:2].tolist()},
    "integers": {"queries": np.arange(40)},
    "strided": {"queries": QUERIES[::3]},
    "k=1": {"k": 1},
    "k of NumPy": {"k": np.int32(3)},
    "more than there are": {"k": 2000},
    "recall": {"recall": 0.5},
    "all lists": {"nprobe": 1000},
    "no rerank": {"nprobe": 5, "rerank": 0},
    "rerank": {"recall": 0.9, "rerank": 100},
    "exact": {"exact": True},
    "alone": {"share_reads": False},
    "in time": {"timeout": 60.0},
    "threads": {"threads": 1},
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())
def test_answers_are_those_of_the_embedded_engine(pair: tuple[Any, Any], search: dict[str, Any]) -> None:
    asked = {"queries": QUERIES, **search}
    found, expected = (collection.search(**asked) for collection in pair)

    assert found.ids.dtype == np.int64
    assert found.distances.dtype == np.float32
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.distances, expected.distances)
    assert found.exact_distances == expected.exact_distances
    assert len(found) == len(expected)
    assert found.latency_us.shape == expected.latency_us.shape
    for name in ("queries", "lists", "distances", "reranked"):
        assert getattr(found.usage, name) == getattr(expected.usage, name), name
    assert (found.usage.elapsed_us > 0) == (len(found) > 0)
    assert found.ids.flags.writeable
    assert found.distances.flags.writeable


REFUSED: dict[str, Any] = {
    "dimension": lambda c: c.search(QUERIES[:, :3]),
    "three dimensions": lambda c: c.search(QUERIES[None]),
    "nan": lambda c: c.search(np.where(np.arange(40) == 3, np.nan, QUERIES)),
    "text": lambda c: c.search(["a"] * 40),
    "k=0": lambda c: c.search(QUERIES, 0),
    "k=-1": lambda c: c.search(QUERIES, -1),
    "k too large": lambda c: c.search(QUERIES, 16_385),
    "k of text": lambda c: c.search(QUERIES, "3"),
    "k=True": lambda c: c.search(QUERIES, True),
    "recall=0": lambda c: c.search(QUERIES, recall=0.0),
    "recall above 1": lambda c: c.search(QUERIES, recall=1.1),
    "recall of text": lambda c: c.search(QUERIES, recall="much"),
    "nprobe=0": lambda c: c.search(QUERIES, nprobe=0),
    "nprobe below": lambda c: c.search(QUERIES, nprobe=-3),
    "rerank below": lambda c: c.search(QUERIES, rerank=-1),
    "both": lambda c: c.search(QUERIES, recall=0.9, nprobe=3),
    "timeout below": lambda c: c.search(QUERIES, timeout=-1.0),
    "batch_rows": lambda c: c.scan(0),
    "batch_rows of text": lambda c: c.scan("all"),
    "start_row": lambda c: c.scan(start_row=-1),
    "start_row beyond": lambda c: c.scan(start_row=ROWS + 1),
    "version": lambda c: c.scan(version=9),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_have_the_same_words(pair: tuple[Any, Any], what: str) -> None:
    found, expected = (refusal(lambda collection=collection: REFUSED[what](collection)) for collection in pair)

    assert found == expected


def test_a_call_that_has_no_time_is_not_made(pair: tuple[Any, Any]) -> None:
    for collection in pair:
        with pytest.raises(
            DeadlineExceeded, match="the time allowed for the call is over; allow more, or ask for less"
        ):
            collection.search(QUERIES, timeout=0.0)
        assert len(collection.search(QUERIES)) == 25


@pytest.mark.parametrize("batch_rows", [1, 400, 10_000])
@pytest.mark.parametrize("start_row", [0, 1499, 1500])
def test_a_scan_gives_out_every_vector(pair: tuple[Any, Any], batch_rows: int, start_row: int) -> None:
    batches = []
    for collection in pair:
        with collection.scan(batch_rows, start_row=start_row, version=1) as scan:
            batches.append(list(scan))
            assert (scan.row, scan.num_rows, scan.version) == (ROWS, ROWS, 1)

    for found, expected in zip(*batches, strict=True):
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])
        assert (found[0].dtype, found[1].dtype) == (expected[0].dtype, expected[1].dtype)


def test_a_scan_may_be_left_and_gone_on_with(pair: tuple[Any, Any]) -> None:
    collection = pair[0]
    with collection.scan(100) as scan:
        first = next(scan)
        row = scan.row
    rest = list(collection.scan(start_row=row))

    assert row == 100
    ids = np.concatenate([first[0], *(ids for ids, _ in rest)])
    assert np.array_equal(np.sort(ids), np.arange(ROWS))
