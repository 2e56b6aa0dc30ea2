"""Passes over whole arrays: finding what is not finite, normalising, bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from outcrop import native


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", [1, 7, 16, 100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_check_finite_names_the_first_bad_row(bad: float, dim: int, dtype: Any) -> None:
    rows = np.full((20, dim), np.finfo(dtype).max, dtype)
    assert native.check_finite(rows) == -1
    for row, column in [(17, 0), (5, dim - 1), (0, dim // 2)]:
        rows[row, column] = bad
        assert native.check_finite(rows) == row


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_integers_are_finite(dtype: Any) -> None:
    assert native.check_finite(np.full((3, 4), -1 if dtype == np.int8 else 255, dtype)) == -1


@pytest.mark.parametrize("dim", [1, 3, 8, 100, 1000])
def test_normalize_rows_gives_length_one_even_to_huge_and_tiny_rows(dim: int) -> None:
    rng = np.random.default_rng(dim)
    scales = np.array([1, 1e-30, 1e30, 3e38], np.float32)[:, None]
    rows = rng.uniform(0.1, 1, (4, dim)).astype(np.float32) * scales
    expected = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    assert native.normalize_rows(rows) == -1
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_normalize_rows_names_the_first_row_without_a_direction_and_scales_the_others() -> None:
    rows = np.array([[3, 4], [0, 0], [np.inf, 1], [0, 2]], np.float32)
    assert native.normalize_rows(rows) == 1
    np.testing.assert_array_equal(rows, np.array([[0.6, 0.8], [0, 0], [np.inf, 1], [0, 1]], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8])
@pytest.mark.parametrize("dim", [1, 7, 16, 100])
def test_row_bounds_equal_the_twins(dim: int, dtype: Any) -> None:
    rows = (np.random.default_rng(dim).standard_normal((50, dim)) * 30).astype(np.int8).astype(dtype)
    lower, upper = native.row_bounds(rows)
    np.testing.assert_array_equal(lower, rows.min(axis=0).astype(np.float32))
    np.testing.assert_array_equal(upper, rows.max(axis=0).astype(np.float32))


def test_row_bounds_pass_over_nan_and_are_infinite_without_rows() -> None:
    rows = np.array([[np.nan, 1], [2, np.nan], [3, 5]], np.float32)
    np.testing.assert_array_equal(native.row_bounds(rows), np.array([[2, 1], [3, 5]], np.float32))
    np.testing.assert_array_equal(native.row_bounds(rows[:0]), np.array([[np.inf] * 2, [-np.inf] * 2], np.float32))
