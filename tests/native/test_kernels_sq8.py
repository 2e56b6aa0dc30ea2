"""The 8-bit scalar code: encoding, its errors, decoding, and distances to codes equal their NumPy twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from outcrop import native
from outcrop.errors import InvalidArgument

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

DIMS = [1, 3, 7, 8, 16, 31, 33, 63, 64, 100, 128, 384, 768, 1000, 4096, 32768]


def trained(dim: int, n: int = 9) -> tuple[native.Sq8, Floats]:
    """A code whose bounds are those of random rows, and the rows."""
    rng = np.random.default_rng(dim)
    rows = (rng.standard_normal((n, dim)) * rng.uniform(0.1, 10, dim) + rng.uniform(-5, 5, dim)).astype(np.float32)
    lower, upper = native.row_bounds(rows)
    return native.Sq8(lower, (upper - lower) / np.float32(255)), rows


def numpy_codes(code: native.Sq8, rows: Floats) -> Codes:
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.rint((rows - code.lower) / code.step)
    return np.where(code.step > 0, np.clip(places, 0, 255), 0).astype(np.uint8)


def numpy_decoded(code: native.Sq8, codes: Codes) -> Floats:
    decoded: Floats = code.lower + code.step * codes.astype(np.float32)
    return decoded


@pytest.mark.parametrize("dim", DIMS)
def test_codes_and_errors_equal_the_twins(dim: int, isa: str) -> None:
    code, rows = trained(dim)
    codes, errors = code.encode(rows, isa)
    np.testing.assert_array_equal(codes, numpy_codes(code, rows))
    np.testing.assert_array_equal(code.decode(codes), numpy_decoded(code, codes))
    exact = np.linalg.norm(rows.astype(np.float64) - numpy_decoded(code, codes), axis=1)
    slack = 2.0**-22 * (np.linalg.norm(rows, axis=1) + np.linalg.norm(code.lower)) + 1e-5 * exact
    assert (np.abs(errors - exact) <= slack).all()


def test_no_error_exceeds_half_a_step_in_each_dimension_within_the_bounds(isa: str) -> None:
    code, rows = trained(100, n=200)
    _, errors = code.encode(rows, isa)
    assert (errors <= np.linalg.norm(code.step) / 2 * 1.001).all()


@pytest.mark.parametrize("dim", [1, 9, 16, 37])
def test_values_outside_the_bounds_take_the_nearest_code(dim: int, isa: str) -> None:
    code = native.Sq8(np.zeros(dim, np.float32), np.ones(dim, np.float32))
    values = [-1e30, -1, 0.5, 1.5, 254.6, 256, 3e38, np.inf, -np.inf, np.nan]
    rows = np.repeat(np.array(values, np.float32)[:, None], dim, axis=1)
    codes, _ = code.encode(rows, isa)
    np.testing.assert_array_equal(codes[:, dim - 1], [0, 0, 0, 2, 255, 255, 255, 255, 0, 0])
    assert (codes == codes[:, :1]).all()


def test_a_constant_dimension_is_kept_exactly(isa: str) -> None:
    rows = np.full((3, 20), 7.25, np.float32)
    code = native.Sq8(rows[0].copy(), np.zeros(20, np.float32))
    codes, errors = code.encode(rows, isa)
    assert not codes.any()
    assert not errors.any()
    np.testing.assert_array_equal(code.decode(codes), rows)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dim", DIMS)
def test_distances_to_codes_equal_the_twin_within_the_stated_bound(dim: int, metric: str, isa: str) -> None:
    code, rows = trained(dim)
    codes, _ = code.encode(rows, "scalar")
    query = rows[4] + np.float32(0.5)
    x, weights = codes.astype(np.float64), code.step.astype(np.float64)
    if metric == "l2":
        terms = ((query - code.lower).astype(np.float64) - weights * x) ** 2
        constant = 0.0
    else:
        terms = -(query * code.step).astype(np.float64) * x
        constant = -np.dot(query.astype(np.float64), code.lower.astype(np.float64))
    # A difference q - lower - step * c may cancel; its own rounding, relative to the larger operand, comes on top.
    operand = np.abs((query - code.lower).astype(np.float64)) + weights * 255
    rounding = (2 * np.sqrt(terms) * operand * 2.0**-23).sum(axis=1) if metric == "l2" else abs(constant) * 2.0**-22
    bound = (dim / 8 + 8) * 2.0**-23 * np.abs(terms).sum(axis=1) + rounding
    found = code.distances(query, codes, metric, isa)
    assert (np.abs(found - (terms.sum(axis=1) + constant)) <= bound).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dim", [1, 7, 33, 64, 100])
def test_a_codes_distance_depends_on_nothing_but_the_code_and_the_query(dim: int, metric: str, isa: str) -> None:
    code, rows = trained(dim)
    codes, _ = code.encode(rows)
    buffer = np.zeros((9, dim + 5), np.uint8)
    buffer[:, 3 : 3 + dim] = codes
    together = code.distances(rows[0], codes, metric, isa)
    alone = [code.distances(rows[0], codes[r : r + 1], metric, isa)[0] for r in range(9)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, code.distances(rows[0], buffer[:, 3 : 3 + dim], metric, isa))


def test_no_rows_give_no_codes_and_no_distances() -> None:
    code, rows = trained(5)
    codes, errors = code.encode(rows[:0])
    assert codes.shape == (0, 5)
    assert errors.shape == (0,)
    assert code.distances(rows[0], codes, "l2").shape == (0,)


@pytest.mark.parametrize(
    ("lower", "step", "reason"),
    [
        ([0.0, 1.0], [1.0], "2 lower bounds, but 1 steps"),
        ([0.0, np.nan], [1.0, 1.0], "dimension 1: expected a finite lower bound"),
        ([0.0, 0.0], [1.0, -1.0], "dimension 1"),
        ([0.0, 0.0], [np.inf, 1.0], "dimension 0"),
    ],
)
def test_bounds_that_cannot_decode_are_refused(lower: Any, step: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        native.Sq8(np.array(lower, np.float32), np.array(step, np.float32))


def test_a_wrong_dimension_is_refused() -> None:
    code, rows = trained(5)
    codes, _ = code.encode(rows)
    with pytest.raises(InvalidArgument, match="rows: expected dimension 5, found 4"):
        code.encode(rows[:, :4].copy())
    with pytest.raises(InvalidArgument, match="codes: expected dimension 5, found 4"):
        code.distances(rows[0], codes[:, :4], "l2")
