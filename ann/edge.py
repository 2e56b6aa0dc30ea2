"""What enters is checked here, before any work: vectors, queries and ids. Every error names the row.

Inside, rows have the stored dtype, are finite, normalised for cosine, and ids are non-negative int64.
"""

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, CollectionSpec, Float32Array, Int64Array, UInt8Array, as_float32, check_rows

# The ids of a part, their rows, and the sort's own two arrays.
_SORT_BYTES_PER_ID = 32
# Half of float32's largest square root: then no distance between two such vectors overflows.
_MOST_SQUARED = np.finfo(np.float32).max / 4


def stored_rows(spec: CollectionSpec, rows: AnyArray, first_row: int) -> AnyArray:
    """Return rows [n, dim] as they are stored: in the collection's dtype, normalised for cosine, C-contiguous.

    first_row: the number of rows[0] in the input, for messages.
    Raises InvalidArgument, naming the first bad row, for NaN, infinity, a zero vector under cosine, a value that the
    dtype cannot hold, or a squared length beyond float32.
    """
    check_rows(spec, rows, "vectors")
    if str(rows.dtype) == spec.dtype and spec.is_byte:
        return np.ascontiguousarray(rows)
    floats = _finite_float32(rows, "vectors", first_row)
    if spec.metric == "cosine":
        floats = _normalized(floats, rows, "vectors", first_row)
    return _cast(spec, floats, first_row)


def query_rows(spec: CollectionSpec, queries: npt.ArrayLike) -> tuple[Float32Array, UInt8Array | None]:
    """Return queries as float32 [n, dim], and as raw bytes in the stored integer type where they fit it exactly, else
    None.

    queries: [dim] or [n, dim] of any numeric dtype. Raises InvalidArgument for a wrong dimension, NaN, infinity, or a
    zero vector under cosine.
    """
    array = np.asarray(queries)
    if array.ndim == 1:
        array = array[None, :]
    check_rows(spec, array, "queries")
    floats = _finite_float32(array, "queries", 0)
    if spec.metric == "cosine":
        floats = _normalized(floats, array, "queries", 0)
    if not spec.is_byte:
        return floats, None
    with np.errstate(invalid="ignore"):
        typed = floats.astype(spec.dtype)
    if not np.array_equal(typed.astype(np.float32), floats):
        return floats, None
    return floats, typed.view(np.uint8)


def check_unique(ids: Int64Array, memory_bytes: int) -> None:
    """Raise InvalidArgument, naming the rows, when an id occurs twice. Sorts in parts of at most about
    `memory_bytes`."""
    num_parts = max(1, -(-ids.size * _SORT_BYTES_PER_ID // memory_bytes))
    for part in range(num_parts):
        rows = np.arange(ids.size) if num_parts == 1 else np.flatnonzero(ids % num_parts == part)
        order = rows[np.argsort(ids[rows], kind="stable")]
        same = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
        if same.size:
            first, second = int(order[same[0]]), int(order[same[0] + 1])
            raise InvalidArgument(f"ids: row {second}: id {ids[second]} stands in row {first} already")


def _finite_float32(rows: AnyArray, name: str, first_row: int) -> Float32Array:
    with np.errstate(over="ignore"):
        floats = as_float32(rows)
        squares = np.einsum("ij,ij->i", floats, floats)
    large = ~(squares < _MOST_SQUARED)  # so are NaN and infinity
    if not large.any():
        return floats
    bad = native.check_finite(floats)
    if bad >= 0:
        raise InvalidArgument(
            f"{name}: row {first_row + bad}: expected finite float32 values, found {_worst(rows[bad])}"
        )
    raise InvalidArgument(
        f"{name}: row {first_row + int(np.argmax(large))}: its squared length overflows float32; scale the vectors down"
    )


def _worst(row: AnyArray) -> str:
    values = row.astype(np.float64)
    column = int(np.flatnonzero(~(np.abs(values) <= np.finfo(np.float32).max))[0])
    return f"{values[column]} in column {column}"


def _normalized(floats: Float32Array, given: AnyArray, name: str, first_row: int) -> Float32Array:
    if np.shares_memory(floats, given) or not floats.flags.writeable:  # no rows share no memory
        floats = floats.copy()
    zero = native.normalize_rows(floats)
    if zero >= 0:
        raise InvalidArgument(f"{name}: row {first_row + zero}: a zero vector has no direction, so no cosine distance")
    return floats


def _cast(spec: CollectionSpec, floats: Float32Array, first_row: int) -> AnyArray:
    if spec.dtype == "float32":
        return floats
    with np.errstate(over="ignore", invalid="ignore"):
        cast = floats.astype(spec.dtype)
    lost = ~np.isfinite(cast) if spec.dtype == "float16" else cast.astype(np.float32) != floats
    bad = np.flatnonzero(lost.any(axis=1))
    if bad.size:
        row = int(bad[0])
        column = int(np.flatnonzero(lost[row])[0])
        raise InvalidArgument(
            f"vectors: row {first_row + row}: the collection stores {spec.dtype}, "
            f"which cannot hold {floats[row, column]} in column {column}"
        )
    return cast
