"""Every distance kernel equals its NumPy twin, for every element type, metric and instruction set.

The twin computes in float64 from the same float32 inputs. The stated bound of the float kernels is
(dim / 8 + 8) * 2**-23 * sum of |terms|; integer kernels equal the rounded exact integer bit for bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from outcrop import native
from outcrop.errors import InvalidArgument

Array = NDArray[Any]

DIMS = [1, 3, 7, 8, 16, 17, 31, 32, 63, 64, 65, 100, 128, 384, 768, 1000, 4096, 32768]
METRICS = ["l2", "ip"]
FLOAT_ROWS = [np.float32, np.float16, np.uint8, np.int8]
INTEGER_ROWS = [np.uint8, np.int8]


def random_rows(dtype: Any, n: int, dim: int, seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, n, dim])
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, (n, dim), dtype, endpoint=True)
    return rng.standard_normal((n, dim)).astype(dtype)


def terms(query: Array, rows: Array, metric: str) -> Array:
    """The summands of each row's distance, float64 [n, dim]; sums of integers are exact in float64."""
    q, x = query.astype(np.float64), rows.astype(np.float64)
    return (q - x) ** 2 if metric == "l2" else -q * x


def check_within_bound(found: Array, summands: Array) -> None:
    bound = (summands.shape[1] / 8 + 8) * 2.0**-23 * np.abs(summands).sum(axis=1)
    assert (np.abs(found - summands.sum(axis=1)) <= bound).all()


def at_odd_bytes(rows: Array, stride_bytes: int, first_byte: int) -> Array:
    """A copy whose rows lie stride_bytes apart and start at no alignment; stride_bytes fits the elements' size."""
    buffer = np.zeros(first_byte + len(rows) * stride_bytes + rows.nbytes, np.uint8)
    placed = np.ndarray(rows.shape, rows.dtype, buffer, first_byte, (stride_bytes, rows.itemsize))
    placed[:] = rows
    return placed


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", FLOAT_ROWS)
@pytest.mark.parametrize("dim", DIMS)
def test_a_float_query_gives_the_twins_distances_within_the_stated_bound(
    dim: int, dtype: Any, metric: str, isa: str
) -> None:
    rows = random_rows(dtype, 9, dim)
    query = random_rows(dtype, 1, dim, seed=1)[0].astype(np.float32)
    check_within_bound(native.distances(query, rows, metric, isa), terms(query, rows, metric))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", INTEGER_ROWS)
@pytest.mark.parametrize("dim", DIMS)
def test_an_integer_query_gives_exact_distances(dim: int, dtype: Any, metric: str, isa: str) -> None:
    rows, query = random_rows(dtype, 9, dim), random_rows(dtype, 1, dim, seed=1)[0]
    exact = terms(query, rows, metric).sum(axis=1).astype(np.float32)
    np.testing.assert_array_equal(native.distances(query, rows, metric, isa), exact)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", INTEGER_ROWS)
@pytest.mark.parametrize("dim", [1, 63, 64, 129, 32768])
def test_the_extremes_of_integers_do_not_overflow(dim: int, dtype: Any, metric: str, isa: str) -> None:
    limits = np.iinfo(dtype)
    extremes = [np.full(dim, value, dtype) for value in (limits.min, limits.max, 0, limits.max // 2)]
    rows = np.stack([*extremes, extremes[0]])
    for query in extremes:
        exact = terms(query, rows, metric).sum(axis=1).astype(np.float32)
        np.testing.assert_array_equal(native.distances(query, rows, metric, isa), exact)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("query_dtype", "dtype"),
    [(np.float32, dtype) for dtype in FLOAT_ROWS] + [(np.uint8, np.uint8), (np.int8, np.int8)],
)
@pytest.mark.parametrize("dim", [1, 7, 33, 64, 100, 129])
def test_a_rows_distance_depends_on_nothing_but_the_row_and_the_query(
    dim: int, query_dtype: Any, dtype: Any, metric: str, isa: str
) -> None:
    rows = random_rows(dtype, 11, dim)
    query = random_rows(query_dtype, 1, dim, seed=1)[0]
    together = native.distances(query, rows, metric, isa)

    alone = np.concatenate([native.distances(query, rows[r : r + 1], metric, isa) for r in range(11)])
    shifted = native.distances(query, rows[1:], metric, isa)
    reversed_order = native.distances(query, rows[::-1].copy(), metric, isa)[::-1]
    spread = at_odd_bytes(rows, rows.strides[0] + 3 * rows.itemsize, 1)
    apart = native.distances(query, spread, metric, isa)

    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[1:], shifted)
    np.testing.assert_array_equal(together, reversed_order)
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", FLOAT_ROWS)
def test_no_rows_give_no_distances(dtype: Any, metric: str, isa: str) -> None:
    found = native.distances(np.zeros(5, np.float32), np.zeros((0, 5), dtype), metric, isa)
    assert found.shape == (0,)
    assert found.dtype == np.float32


@pytest.mark.parametrize("dim", [5, 16, 40])
def test_subnormal_and_large_float16_rows_are_read_exactly(dim: int, isa: str) -> None:
    rows = np.empty((4, dim), np.float16)
    rows[:] = np.array([2.0**-24, 1023 * 2.0**-24, 65504, -65504])[:, None]
    query = np.zeros(dim, np.float32)
    check_within_bound(native.distances(query, rows, "l2", isa), terms(query, rows, "l2"))


@pytest.mark.parametrize("dim", [1, 16, 40])
def test_a_difference_too_large_for_float32_gives_infinity(dim: int, isa: str) -> None:
    query = np.full(dim, 3e38, np.float32)
    rows = np.stack([-query, query])
    np.testing.assert_array_equal(native.distances(query, rows, "l2", isa), [np.inf, 0])
    np.testing.assert_array_equal(native.distances(query, rows, "ip", isa), [np.inf, -np.inf])


@pytest.mark.parametrize("metric", METRICS)
def test_a_nan_or_an_infinity_stays_in_its_own_row(metric: str, isa: str) -> None:
    rows = random_rows(np.float32, 6, 40)
    query = np.abs(rows[0])
    clean = native.distances(query, rows, metric, isa)
    rows[2, 39], rows[3, 0] = np.nan, np.inf
    found = native.distances(query, rows, metric, isa)
    assert np.isnan(found[2])
    assert np.isinf(found[3])
    others = [0, 1, 4, 5]
    np.testing.assert_array_equal(found[others], clean[others])


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_integer_rows_agree_over_all_instruction_sets(available_isas: list[str], data: st.DataObject) -> None:
    dim, n = data.draw(st.integers(1, 200)), data.draw(st.integers(0, 9))
    gap, first_byte = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 63))
    dtype, metric = data.draw(st.sampled_from(INTEGER_ROWS)), data.draw(st.sampled_from(METRICS))
    rows = at_odd_bytes(random_rows(dtype, n, dim, seed=gap), dim + gap, first_byte)
    query = random_rows(dtype, 1, dim, seed=9)[0]
    exact = terms(query, rows, metric).sum(axis=1).astype(np.float32)
    for isa in available_isas:
        np.testing.assert_array_equal(native.distances(query, rows, metric, isa), exact)


def test_a_call_that_cannot_be_right_is_refused_with_the_reason() -> None:
    query, rows = np.zeros(4, np.float32), np.zeros((2, 4), np.float32)
    for arguments, reason in [
        ((query, rows[:, :3], "l2"), "query: expected dimension 3, found 4"),
        ((query, rows, "cosine"), "metric: expected l2 or ip, found 'cosine'"),
        ((query, rows, "l2", "sse"), "isa: expected auto, scalar, avx2 or avx512, found 'sse'"),
        ((query, rows.astype(np.float64), "l2"), "rows: expected float32, float16, uint8 or int8"),
        ((query.astype(np.uint8), rows, "l2"), "query: expected float32, or the rows' own integer type"),
        ((query[:2], rows[:, ::2], "l2"), "the elements of a row must be adjacent"),
        ((query, rows[::-1], "l2"), "rows must not run backwards"),
        ((np.zeros(32769, np.float32), np.zeros((1, 32769), np.float32), "l2"), "the largest dimension is 32768"),
    ]:
        with pytest.raises(InvalidArgument, match=reason):
            native.distances(*arguments)


def test_the_active_instruction_set_is_one_that_the_cpu_has(available_isas: list[str]) -> None:
    assert native.active_isa() in available_isas
    assert "avx2" not in available_isas or native.cpu_features()["avx2"]


def run_with_cap(cap: str) -> subprocess.CompletedProcess[str]:
    program = "from outcrop import native; print(native.active_isa())"
    environment = {**os.environ, "OUTCROP_CPU": cap}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_the_environment_lowers_the_instruction_set(available_isas: list[str]) -> None:
    assert run_with_cap("scalar").stdout.strip() == "scalar"
    assert run_with_cap("avx512").stdout.strip() == available_isas[-1]
    assert run_with_cap("auto").stdout.strip() == available_isas[-1]


def test_an_unknown_instruction_set_in_the_environment_is_refused() -> None:
    reason = "OUTCROP_CPU: expected auto, scalar, avx2 or avx512, found 'sse9'"
    assert reason in run_with_cap("sse9").stderr
