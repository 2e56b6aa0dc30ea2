"""From one element type to another: between floats freely, to whole numbers only when nothing is lost or when asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from outcrop.datasets.source import Vectors
from outcrop.errors import InvalidArgument


def convert_rows(rows: Vectors, dtype: np.dtype[Any], rounded: bool, first_row: int, name: str) -> Vectors:
    """Return `rows` as `dtype`, C-contiguous; the same array when there is nothing to do.

    Floats may lose digits but no value may become infinite. To whole numbers every value must be exact, unless
    `rounded`, which rounds to the nearest (halves to even) and holds the ends of the range; NaN is refused always.
    Raises InvalidArgument with the row (`first_row` is the place of rows[0]) and the value.
    """
    if rows.dtype == dtype:
        return np.ascontiguousarray(rows)
    if rounded and dtype.kind in "iu":
        rows = _rounded(rows, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = rows.astype(dtype, order="C")
        kept = _kept(rows, converted)
    if not kept.all():
        row, column = (int(i) for i in np.argwhere(~kept)[0])
        hint = "" if rounded or dtype.kind == "f" else "; ask for rounding"
        raise InvalidArgument(f"{name}: row {first_row + row} holds {rows[row, column]}, which is no {dtype}{hint}")
    return converted


def _rounded(rows: Vectors, dtype: np.dtype[Any]) -> Vectors:
    limits = np.iinfo(dtype)
    # float64 holds every end of the range of an integer of up to 32 bits; wider ones are clipped a little further in.
    low, high = float(limits.min), float(np.nextafter(limits.max, 0) if limits.bits > 32 else limits.max)
    clipped: Vectors = np.clip(np.rint(rows.astype(np.float64)), low, high)
    return clipped


def _kept(rows: Vectors, converted: Vectors) -> Vectors:
    if converted.dtype.kind == "f":
        still_finite: Vectors = np.isfinite(converted) | ~np.isfinite(rows)
        return still_finite
    # Comparing in float64 lets 2^63 pass for the int64 that it wrapped to; the sign gives it away.
    exact: Vectors = (converted == rows) & ((converted < 0) == (rows < 0))
    return exact
