"""Scores of rows against plain matrices."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import scores
from outcrop.types import AnyArray, EdgeType

WRITES: EdgeType = ("author", "writes", "paper")
CITES: EdgeType = ("paper", "cites", "paper")


def csc(matrix: AnyArray) -> tuple[AnyArray, AnyArray]:
    """matrix[source, destination] edges as indptr and indices."""
    destinations, sources = np.nonzero(matrix.T)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(destinations, minlength=matrix.shape[1]))))
    return indptr.astype(np.int64), sources.astype(np.uint32)


@pytest.fixture(params=[7, 1 << 22])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_CHUNK_EDGES", request.param)


@pytest.mark.usefixtures("_chunks")
def test_degrees_are_the_sums_of_rows_and_columns() -> None:
    matrix = np.random.default_rng(3).random((30, 20)) < 0.2

    into, out_of = scores.degrees(*csc(matrix), 30)

    np.testing.assert_array_equal(into, matrix.sum(0))
    np.testing.assert_array_equal(out_of, matrix.sum(1))


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("seeded", [False, True])
def test_reverse_pagerank_is_a_walk_against_the_edges_over_all_types(seeded: bool) -> None:
    rng = np.random.default_rng(5)
    writes, cites = rng.random((15, 25)) < 0.1, rng.random((25, 25)) < 0.1
    seeds = np.array([3, 4, 20]) if seeded else np.arange(25)

    found = scores.reverse_pagerank(
        {WRITES: csc(writes), CITES: csc(cites)},
        {"author": 15, "paper": 25},
        seeds={"paper": seeds},
        damping=0.8,
        iterations=4,
    )

    # One matrix over both types: authors first. Column v tells where a walk goes from node v.
    both = np.zeros((40, 40))
    both[:15, 15:], both[15:, 15:] = writes, cites
    step = both / np.maximum(1, both.sum(0))
    start = np.zeros(40)
    start[15 + seeds] = 1 / len(seeds)
    expected = start
    for _ in range(4):
        expected = 0.8 * step @ expected
        expected += (1 - expected.sum()) * start
    np.testing.assert_allclose(np.concatenate([found["author"], found["paper"]]), expected, rtol=1e-12)
    assert expected.sum() == pytest.approx(1)


def test_reverse_pagerank_refuses_seeds_that_are_none_or_not_there() -> None:
    graph = csc(np.eye(4))
    for seeds, text in (([], "at least one node or seed"), ([4], "expected ids from 0 to 3")):
        with pytest.raises(InvalidArgument, match=text):
            scores.reverse_pagerank({CITES: graph}, {"paper": 4}, seeds={"paper": np.array(seeds, np.int64)})
    with pytest.raises(InvalidArgument, match="damping"):
        scores.reverse_pagerank({CITES: graph}, {"paper": 4}, damping=1.0)


def test_access_counts_count_requests_by_row() -> None:
    requests = [np.array([1, 3], np.uint32), np.array([3], np.uint32), np.array([], np.uint32)]

    assert scores.access_counts(requests, 5).tolist() == [0, 1, 0, 2, 0]


@pytest.mark.parametrize("different", [1, 5, 65_536, 65_537, 200_000])
def test_ranks_keep_the_order_of_scores_and_use_the_range(different: int) -> None:
    values = np.random.default_rng(different).permutation(np.repeat(np.arange(different), 2) * 0.5)

    ranks = scores.ranked(values)

    in_order = ranks[np.argsort(values)].astype(np.int64)
    assert (np.diff(in_order) >= 0).all()
    assert len(np.unique(ranks)) == min(different, len(np.unique(ranks)), 65_536) >= min(different, 32_768)
    assert in_order[0] == 0


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"scores\[1\]"):
        scores.ranked(np.array([0.0, np.nan]))
