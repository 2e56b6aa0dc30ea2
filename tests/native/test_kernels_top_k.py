"""top_k equals sorting by (distance, id, row) and keeping each id once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from outcrop import native
from outcrop.errors import InvalidArgument

Selection = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


def numpy_top_k(distances: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> Selection:
    rows = np.lexsort((np.arange(len(ids)), ids, distances))
    _, first = np.unique(ids[rows], return_index=True)
    kept = rows[np.sort(first)][:k]
    return distances[kept], ids[kept], kept


def check_equal(found: Selection, expected: Selection) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("k", [1, 2, 10, 64, 100, 1000, 16384])
@pytest.mark.parametrize("num_ids", [1, 50, 100_000])
@pytest.mark.parametrize("num_distances", [1, 20, 1 << 20])
def test_top_k_equals_the_twin_with_ties_and_copies(k: int, num_ids: int, num_distances: int) -> None:
    rng = np.random.default_rng([k, num_ids, num_distances])
    distances = rng.integers(0, num_distances, 30_000).astype(np.float32)
    ids = rng.integers(-num_ids, num_ids, 30_000)
    check_equal(native.top_k(distances, ids, k), numpy_top_k(distances, ids, k))


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)), max_size=60),
    k=st.integers(1, 12),
    seed=st.integers(0, 9),
)
@settings(deadline=None)
def test_distances_and_ids_do_not_depend_on_the_order_of_entries(
    entries: list[tuple[int, int]], k: int, seed: int
) -> None:
    distances = np.array([distance for distance, _ in entries], np.float32)
    ids = np.array([id_ for _, id_ in entries], np.int64)
    order = np.random.default_rng(seed).permutation(len(entries))
    found, shuffled = native.top_k(distances, ids, k), native.top_k(distances[order], ids[order], k)
    check_equal(found, numpy_top_k(distances, ids, k))
    np.testing.assert_array_equal(found[0], shuffled[0])
    np.testing.assert_array_equal(found[1], shuffled[1])


def test_fewer_entries_than_k_give_what_there_is() -> None:
    found = native.top_k(np.array([2, 1], np.float32), np.array([7, 8]), 5)
    check_equal(found, (np.array([1, 2], np.float32), np.array([8, 7]), np.array([1, 0])))
    assert all(len(part) == 0 for part in native.top_k(np.zeros(0, np.float32), np.zeros(0, np.int64), 1))


def test_infinity_is_a_distance_and_nan_counts_as_one() -> None:
    distances = np.array([np.nan, np.inf, -np.inf, 0], np.float32)
    kept, ids, _ = native.top_k(distances, np.array([3, 4, 5, 6]), 4)
    np.testing.assert_array_equal(kept, np.array([-np.inf, 0, np.inf, np.inf], np.float32))
    np.testing.assert_array_equal(ids, [5, 6, 3, 4])


@pytest.mark.parametrize("k", [-1, 0, 16385])
def test_a_k_outside_its_range_is_refused(k: int) -> None:
    with pytest.raises(InvalidArgument, match="k: expected"):
        native.top_k(np.zeros(1, np.float32), np.zeros(1, np.int64), k)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="1 distances, but 2 ids"):
        native.top_k(np.zeros(1, np.float32), np.zeros(2, np.int64), 1)
