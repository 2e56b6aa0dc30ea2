"""The one interface behind which every vector file, array and generator stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument

Vectors: TypeAlias = npt.NDArray[Any]

ENGINE_DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.uint8), np.dtype(np.int8))
"""Element types that an index stores. Files may hold the wider ones below too; converting is the caller's choice."""

READABLE_DTYPES = (*ENGINE_DTYPES, np.dtype(np.float64), np.dtype(np.int32), np.dtype(np.int64))


class VectorSource(ABC):
    """Rows of one length and one element type, readable in any order and as often as needed.

    num_rows, dim: the shape. dtype: the element type in native byte order, one of READABLE_DTYPES.
    format: "fbin", "npy", ..., "memory" or "generated". path: the file, or None where there is none.
    A source is a context manager. Sources of plain files may be read by several threads at once.
    """

    num_rows: int
    dim: int
    dtype: np.dtype[Any]
    format: str
    path: Path | None

    def read(self, start: int, stop: int) -> Vectors:
        """Return rows `start` to `stop` (exclusive), [stop - start, dim], C-contiguous.

        The caller may keep the array but not write to it: a source in memory returns a view.
        Raises InvalidArgument when the range leaves [0, num_rows], CorruptFile or StorageFailure when the bytes fail.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise InvalidArgument(f"{self.name}: rows {start} to {stop} asked, but there are {self.num_rows}")
        rows = self._read(start, stop)
        assert rows.shape == (stop - start, self.dim)
        assert rows.dtype == self.dtype
        assert rows.flags.c_contiguous
        return rows

    def batches(self, batch_rows: int, start: int = 0, stop: int | None = None) -> Iterator[Vectors]:
        """Yield rows `start` to `stop` (default: all) in order, `batch_rows` at a time, fewer in the last batch."""
        if batch_rows < 1:
            raise InvalidArgument(f"batch_rows must be at least 1, found {batch_rows}")
        stop = self.num_rows if stop is None else stop
        for first in range(start, stop, batch_rows):
            yield self.read(first, min(first + batch_rows, stop))

    @property
    def name(self) -> str:
        """What error messages call this source."""
        return self.format if self.path is None else str(self.path)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in memory."""
        return self.dim * self.dtype.itemsize

    def close(self) -> None:  # noqa: B027  a source without a file has nothing to close
        """Release the file. Reading afterwards is an error; closing twice is not."""

    def __enter__(self) -> VectorSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.num_rows} x {self.dim} {self.dtype}>"

    @abstractmethod
    def _read(self, start: int, stop: int) -> Vectors: ...


class MemorySource(VectorSource):
    """A source over an array [num_rows, dim] that the caller owns. Rows are views."""

    def __init__(self, rows: Vectors) -> None:
        if rows.ndim != 2 or rows.shape[1] < 1:
            raise InvalidArgument(f"vectors must have the shape [rows, dim >= 1], found {list(rows.shape)}")
        self._rows = np.ascontiguousarray(rows, dtype=native_dtype(rows.dtype, "array"))
        self.num_rows, self.dim = self._rows.shape
        self.dtype = self._rows.dtype
        self.format = "memory"
        self.path = None

    def _read(self, start: int, stop: int) -> Vectors:
        return self._rows[start:stop]


def native_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Return `dtype` in native byte order; InvalidArgument unless it is one of READABLE_DTYPES."""
    native: np.dtype[Any] = dtype.newbyteorder("=")
    if native not in READABLE_DTYPES:
        expected = ", ".join(str(known) for known in READABLE_DTYPES)
        raise InvalidArgument(f"{name}: element type {dtype} is not one of {expected}")
    return native
