"""Tables of feature rows: a source to import one from, and what fetching from one took."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import AnyArray, Int64Array


class RowSource(Protocol):
    """Rows of a feature table, of any dtype and shape. `import_features` reads them once, in order.

    A dtype that NumPy lacks comes as one it has: bfloat16 as uint16, and then the source has an attribute
    `logical_dtype` that says "bfloat16".
    """

    @property
    def num_rows(self) -> int:
        """How many rows there are: one for each node of a type."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row; () when a row is one number."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the arrays that `read` returns."""
        ...

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop), an array [stop - start, *row_shape] of `dtype`."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What was fetched since the table was opened: rows given out, reads of the device and their bytes."""

    rows: int
    reads: int
    read_bytes: int


def row_ids(ids: Any, num_rows: int) -> Int64Array:
    """Return ids of rows, int64 [n]. Raises InvalidArgument naming the first that `num_rows` rows do not have."""
    array = np.asarray(ids)
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument(f"ids: expected integers [n], found {array.dtype} {list(array.shape)}")
    bad = (array < 0) | (array >= num_rows)
    if bad.any():
        place = int(np.argmax(bad))
        raise InvalidArgument(f"ids: place {place}: expected 0 to {num_rows - 1}, found {array[place]}")
    return array.astype(np.int64, copy=False)


def row_output(out: AnyArray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """Return an array that a caller gave for rows. Raises InvalidArgument where they cannot be written there."""
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgument(
            f"out: expected a writable C-contiguous array of {dtype} {list(shape)}, found {out.dtype} {list(out.shape)}"
        )
    return out
