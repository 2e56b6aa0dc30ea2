"""The reference that judges schedules is itself judged: by trying every choice of what to keep."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from tests.belady import belady_misses


@pytest.mark.parametrize("seed", range(40))
def test_no_choice_of_what_to_keep_misses_less(seed: int) -> None:
    random = np.random.default_rng(seed)
    trace = [random.choice(7, random.integers(1, 4), replace=False).astype(np.int64) for _ in range(6)]
    cache_rows = int(random.integers(0, 4))

    found = belady_misses(trace, 7, cache_rows)

    assert found == _least_misses([frozenset(rows.tolist()) for rows in trace], cache_rows)


def test_a_cache_that_holds_everything_misses_each_row_once() -> None:
    trace = [np.array([0, 1, 2]), np.array([2, 3]), np.array([0, 3])]

    assert belady_misses(trace, 4, 4) == 4
    assert belady_misses(trace, 4, 0) == 7


def _least_misses(trace: list[frozenset[int]], cache_rows: int) -> int:
    @functools.cache
    def least(batch: int, cached: frozenset[int]) -> int:
        if batch == len(trace):
            return 0
        candidates = sorted(cached | trace[batch])
        choices = itertools.combinations(candidates, min(cache_rows, len(candidates)))
        return len(trace[batch] - cached) + min(least(batch + 1, frozenset(kept)) for kept in choices)

    return least(0, frozenset())
