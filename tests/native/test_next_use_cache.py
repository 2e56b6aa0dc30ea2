"""NextUseCache against Belady in plain NumPy, and what Python sees of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.belady import belady_misses

from outcrop import native
from outcrop.errors import InvalidArgument

Keys = npt.NDArray[np.uint32]
NUM_KEYS = 40
traces = st.lists(st.sets(st.integers(0, NUM_KEYS - 1), max_size=NUM_KEYS).map(sorted), min_size=1, max_size=30)


def keys_of(values: list[int]) -> Keys:
    return np.array(values, np.uint32)


def next_uses_of(trace: list[Keys], num_keys: int) -> list[Keys]:
    future = native.NextUses(num_keys)
    return [future.before(request, trace[request]) for request in range(len(trace) - 1, -1, -1)][::-1]


@given(trace=traces, capacity=st.integers(0, NUM_KEYS + 3))
@settings(deadline=None)
def test_misses_are_those_of_belady(trace: list[list[int]], capacity: int) -> None:
    requests = [keys_of(keys) for keys in trace]
    cache = native.NextUseCache(NUM_KEYS, capacity)

    for request, next_use in enumerate(next_uses_of(requests, NUM_KEYS)):
        cache.advance(request, requests[request], next_use)

    assert cache.statistics().misses == belady_misses(requests, NUM_KEYS, capacity)


@given(trace=traces, capacity=st.integers(1, NUM_KEYS), window=st.integers(1, 5), seed=st.integers(0, 9))
@settings(deadline=None)
def test_slots_hold_what_the_steps_say_also_when_only_a_window_is_known(
    trace: list[list[int]], capacity: int, window: int, seed: int
) -> None:
    requests = [keys_of(keys) for keys in trace]
    future, cache = native.LookAhead(NUM_KEYS), native.NextUseCache(NUM_KEYS, capacity)
    cache.set_scores(np.random.default_rng(seed).integers(0, 5, NUM_KEYS).astype(np.uint16))
    slab = np.full(capacity, -1)

    for request, keys in enumerate(requests):
        for announced in range(future.end, min(len(requests), request + window)):
            cache.promote(future.announce(requests[announced]), announced)
        step = cache.step(request, keys, future.take())

        hit = step.hit_slots != native.MISS
        np.testing.assert_array_equal(hit, np.isin(keys, slab))
        np.testing.assert_array_equal(slab[step.hit_slots[hit]], keys[hit])
        assert not hit[step.insert_indices].any()
        assert not hit[step.bypassed].any()
        np.testing.assert_array_equal(slab[step.evicted_slots], step.evicted_keys)
        slab[step.evicted_slots] = -1
        assert (slab[step.insert_slots] == -1).all()
        slab[step.insert_slots] = keys[step.insert_indices]
        assert len(cache) == np.count_nonzero(slab >= 0)


def test_a_cache_goes_on_from_what_another_one_held() -> None:
    first, second = native.NextUseCache(10, 3), native.NextUseCache(10, 3)
    first.step(0, keys_of([1, 2, 3]), keys_of([5, native.UNKNOWN, native.NEVER]))

    second.load(*first.contents())

    assert [part.tolist() for part in second.contents()] == [part.tolist() for part in first.contents()]
    assert second.step(5, keys_of([1]), keys_of([native.NEVER])).hit_slots != native.MISS


def test_first_uses_after_the_backward_pass_are_those_of_the_begin() -> None:
    future = native.NextUses(5, native.UNKNOWN)
    future.before(7, keys_of([1, 2]))
    future.before(3, keys_of([2, 4]))

    assert future.first(keys_of([0, 1, 2, 4])).tolist() == [native.UNKNOWN, 7, 3, 3]


def test_a_wrong_key_or_future_is_refused_with_its_place() -> None:
    cache = native.NextUseCache(5, 2)
    with pytest.raises(InvalidArgument, match=r"keys\[1\]: expected less than 5, found 9"):
        cache.step(0, keys_of([1, 9]), keys_of([native.NEVER] * 2))
    with pytest.raises(InvalidArgument, match=r"next_use\[0\] of key 1: expected a request in \(4, "):
        cache.step(4, keys_of([1]), keys_of([4]))
    with pytest.raises(InvalidArgument, match="scores: expected one for each of 5 keys, found 4"):
        cache.set_scores(np.zeros(4, np.uint16))
    with pytest.raises(InvalidArgument, match="as many slots and next uses as keys"):
        cache.load(keys_of([1]), keys_of([]), keys_of([1]))
