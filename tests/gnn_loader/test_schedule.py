"""Next uses on disk, miss curves, and memory shared among tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import InvalidArgument, StorageFailure
from outcrop.gnn_loader.planning.schedule import MissCurve, NextUseFile, miss_curve, rows_to_pin, share_memory
from outcrop.types import UInt32Array


def skewed_requests(num_rows: int, num_requests: int, size: int, seed: int) -> list[UInt32Array]:
    """Requests of `size` different rows, where few rows are wanted often."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_rows + 1) ** 0.8
    chances = rng.permutation(weights / weights.sum())
    return [rng.choice(num_rows, size, replace=False, p=chances).astype(np.uint32) for _ in range(num_requests)]


def counts_of(requests: list[UInt32Array]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([len(keys) for keys in requests], np.int64)


def test_next_uses_come_back_from_the_file(tmp_path: Path) -> None:
    requests = [*skewed_requests(200, 20, 30, seed=1), np.zeros(0, np.uint32)]
    future = native.NextUses(200, native.UNKNOWN)

    with NextUseFile(tmp_path / "uses", counts_of(requests), 200, native.UNKNOWN) as file:
        for request in range(len(requests) - 1, -1, -1):
            file.write(request, requests[request])
        expected = [future.before(r, requests[r]) for r in range(len(requests) - 1, -1, -1)][::-1]
        np.testing.assert_array_equal(file.first_uses(requests[5]), future.first(requests[5]))
        file.seal()

        for request in np.random.default_rng(0).permutation(len(requests)).tolist():
            np.testing.assert_array_equal(file.read(request), expected[request])
        with pytest.raises(InvalidArgument, match="until the file is sealed"):
            file.first_uses(requests[0])
    assert (tmp_path / "uses").stat().st_size == 4 * sum(map(len, requests))


def test_next_uses_are_written_backwards_and_read_when_complete(tmp_path: Path) -> None:
    keys = np.array([1, 2], np.uint32)
    with NextUseFile(tmp_path / "uses", np.array([2, 2]), 5) as file:
        with pytest.raises(InvalidArgument, match="expected request 1, found 0"):
            file.write(0, keys)
        with pytest.raises(InvalidArgument, match="request 1: expected 2 keys, found 1"):
            file.write(1, keys[:1])
        file.write(1, keys)
        with pytest.raises(InvalidArgument, match="1 requests are not yet written"):
            file.read(1)


def test_a_file_that_was_cut_is_an_error(tmp_path: Path) -> None:
    with NextUseFile(tmp_path / "uses", np.array([2]), 5) as file:
        file.write(0, np.array([1, 2], np.uint32))
        with (tmp_path / "uses").open("r+b") as cut:
            cut.truncate(4)

        with pytest.raises(StorageFailure, match="4 bytes long, expected 8"):
            file.read(0)


def test_a_curve_has_the_misses_of_caches_of_each_size() -> None:
    requests = skewed_requests(500, 30, 60, seed=2)

    curve = miss_curve(requests, 500, [0, 10, 50, 100, 500], num_threads=2)

    future = native.NextUses(500)
    next_uses = [future.before(r, requests[r]) for r in range(29, -1, -1)][::-1]
    for capacity, misses in zip(curve.capacities.tolist(), curve.misses.tolist(), strict=True):
        cache = native.NextUseCache(500, capacity)
        for request, next_use in enumerate(next_uses):
            cache.advance(request, requests[request], next_use)
        assert cache.statistics().misses == misses
    assert curve.misses[0] == curve.accesses == 30 * 60
    assert curve.misses[-1] == len(np.unique(np.concatenate(requests)))
    assert curve.misses[1] < curve.misses_at(5) < curve.misses[0]


def test_a_curve_from_a_sample_of_rows_is_near_the_whole_one() -> None:
    requests = skewed_requests(40_000, 20, 4000, seed=3)

    whole = miss_curve(requests, 40_000)
    sampled = miss_curve(requests, 40_000, sampled_rows=10_000, seed=4)

    np.testing.assert_array_equal(sampled.capacities, whole.capacities)
    np.testing.assert_allclose(sampled.misses, whole.misses, rtol=0.03)
    assert sampled.misses[0] == whole.misses[0]


def test_an_empty_trace_has_a_curve() -> None:
    assert miss_curve([], 10).misses.sum() == 0
    assert miss_curve([np.zeros(0, np.uint32)], 0).misses.tolist() == [0.0]


def misses_of(requests: list[UInt32Array], num_rows: int, capacity: int, pinned: UInt32Array) -> int:
    future, cache = native.NextUses(num_rows), native.NextUseCache(num_rows, capacity)
    next_uses = [future.before(r, requests[r]) for r in range(len(requests) - 1, -1, -1)][::-1]
    cache.pin(pinned)
    for request, next_use in enumerate(next_uses):
        cache.advance(request, requests[request], next_use)
    return cache.statistics().misses


@pytest.mark.parametrize(("share", "least_gain"), [(0.02, 0.0), (0.1, 0.0), (0.5, 0.4), (1.0, 0.99)])
def test_pinning_the_most_wanted_rows_saves_what_each_pass_would_load_again(share: float, least_gain: float) -> None:
    requests, capacity = skewed_requests(5000, 25, 500, seed=5), int(share * 5000)
    counts = np.bincount(np.concatenate(requests), minlength=5000)

    pinned = rows_to_pin(requests, 5000, capacity, sampled_rows=3000, num_threads=2)

    assert len(np.unique(pinned)) == len(pinned) <= capacity
    assert (np.diff(counts[pinned]) <= 0).all()
    without = misses_of(requests, 5000, capacity, pinned[:0])
    assert misses_of(requests, 5000, capacity, pinned) <= (1 - least_gain) * without * 1.01


def test_rows_that_nobody_wants_are_not_pinned() -> None:
    requests = [np.arange(10, dtype=np.uint32)] * 3

    assert sorted(rows_to_pin(requests, 1000, 500).tolist()) == list(range(10))
    assert len(rows_to_pin([], 1000, 500)) == len(rows_to_pin(requests, 1000, 0)) == 0


def test_a_cache_that_each_pass_replaces_pins_little() -> None:
    # Each request wants other rows, twice in a row: what is wanted next is all that counts.
    requests = [np.arange(100 * (r // 2), 100 * (r // 2 + 1), dtype=np.uint32) for r in range(40)]

    assert len(rows_to_pin(requests, 2000, 100)) == 0


def curve_of(misses: list[float]) -> MissCurve:
    return MissCurve(300, int(misses[0]), np.array([0, 100, 200, 300]), np.array(misses))


def test_memory_goes_where_a_byte_saves_most() -> None:
    curves = {"hot": curve_of([1000, 200, 150, 140]), "cold": curve_of([400, 350, 310, 300])}
    row_bytes = {"hot": 10, "cold": 20}

    assert share_memory(curves, row_bytes, 0) == {"hot": 0, "cold": 0}
    assert share_memory(curves, row_bytes, 999) == {"hot": 99, "cold": 0}
    # Behind hot's first 100 rows both tables save one miss for two rows; the row that is twice as wide misses twice the
    # bytes.
    assert share_memory(curves, row_bytes, 1000 + 3000) == {"hot": 200, "cold": 100}
    assert share_memory(curves, row_bytes, 1 << 20) == {"hot": 300, "cold": 300}


def test_memory_that_saves_nothing_is_left() -> None:
    assert share_memory({"a": curve_of([900, 500, 500, 500])}, {"a": 4}, 1 << 20) == {"a": 100}


def test_a_cache_that_pays_only_when_large_is_weighed_as_a_whole() -> None:
    curves = {"late": curve_of([900, 890, 880, 0]), "steady": curve_of([900, 700, 500, 300])}

    assert share_memory(curves, {"late": 1, "steady": 1}, 300) == {"late": 300, "steady": 0}
