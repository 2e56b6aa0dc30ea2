"""Arrays by the dtype of their elements."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
AnyArray = npt.NDArray[Any]


def row_ranges(num_rows: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of consecutive batches of at most `batch_rows` rows."""
    for start in range(0, num_rows, batch_rows):
        yield start, min(start + batch_rows, num_rows)


def memmap_place(array: "np.memmap[Any, Any]") -> list[Any]:
    """Return what tells one part of a mapped file from another: JSON. A view's `offset` is that of the whole map."""
    start = np.frombuffer(getattr(array, "_mmap"), np.uint8).ctypes.data  # noqa: B009  unknown to its stubs
    return [array.offset, array.ctypes.data - start, array.strides]


def as_float32(rows: AnyArray) -> Float32Array:
    """Return rows as float32, C-contiguous; no copy where they already are."""
    return np.ascontiguousarray(rows, dtype=np.float32)
