"""The input of a build, whatever it is: an array, a file opened by `datasets`, or an iterable of batches."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.ann.edge import checked_ids, stored_rows
from outcrop.ann.spec import CollectionSpec
from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, Int64Array, VectorSource, row_ranges


class ArraySource:
    """An array [n, dim], memory-mapped or not, as a VectorSource."""

    def __init__(self, array: AnyArray) -> None:
        """array: two dimensions. Raises InvalidArgument otherwise."""
        if array.ndim != 2:
            raise InvalidArgument(f"vectors: expected shape [n, dim], found {list(array.shape)}")
        self._array = array
        self.num_rows, self.dim = int(array.shape[0]), int(array.shape[1])
        self.dtype = array.dtype

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop)."""
        return np.ascontiguousarray(self._array[start:stop])


def as_source(vectors: Any, folder: Path) -> VectorSource:
    """Return a VectorSource over `vectors`; batches of an iterable are spooled to a file in `folder` first."""
    if isinstance(vectors, np.ndarray):
        return ArraySource(vectors)
    if hasattr(vectors, "read") and hasattr(vectors, "num_rows"):
        source: VectorSource = vectors
        return source
    if isinstance(vectors, list | tuple):
        return ArraySource(np.asarray(vectors))
    if isinstance(vectors, Iterable):
        return _spooled(vectors, folder / "spool.raw")
    raise InvalidArgument(
        f"vectors: expected an array, an opened file or batches of arrays, found {type(vectors).__name__}"
    )


def _spooled(batches: Iterable[AnyArray], path: Path) -> ArraySource:
    num_rows, dim = 0, 0
    dtype: np.dtype[Any] = np.dtype(np.float32)
    with path.open("wb") as file:
        for batch in batches:
            array = np.ascontiguousarray(batch)
            if array.ndim != 2 or (num_rows and (array.shape[1] != dim or array.dtype != dtype)):
                raise InvalidArgument(
                    f"vectors: batch at row {num_rows}: expected shape [n, {dim or 'dim'}] and one dtype throughout, "
                    f"found {list(array.shape)} of {array.dtype}"
                )
            dim, dtype = array.shape[1], array.dtype
            array.tofile(file)
            num_rows += len(array)
    if not num_rows:
        raise InvalidArgument("vectors: expected at least one batch with at least one row, found none")
    return ArraySource(np.memmap(path, dtype, "r", shape=(num_rows, dim)))


class BuildInput:
    """Checked batches of a source: rows as they are stored, and their ids."""

    def __init__(self, spec: CollectionSpec, source: VectorSource, ids: Any) -> None:
        """ids: int64 [n]; None numbers the rows. String ids are numbered too; their text is the caller's to store."""
        if source.dim != spec.dim:
            raise InvalidArgument(f"vectors: expected dimension {spec.dim}, found {source.dim}")
        if source.num_rows < 1:
            raise InvalidArgument("vectors: expected at least one row, found none")
        if str(source.dtype) not in ("float32", "float16", "uint8", "int8", "float64"):
            raise InvalidArgument(f"vectors: expected float32, float16, uint8 or int8, found {source.dtype}")
        self.spec = spec
        self.source = source
        self.num_rows = source.num_rows
        self._ids = None if ids is None else checked_ids(ids, source.num_rows)

    @property
    def ids(self) -> Int64Array | None:
        """The ids that were given, or None when rows are numbered."""
        return self._ids

    def max_id(self) -> int:
        """The largest id."""
        return self.num_rows - 1 if self._ids is None else int(self._ids.max())

    def ids_of(self, start: int, stop: int) -> Int64Array:
        """The ids of rows [start, stop)."""
        return np.arange(start, stop, dtype=np.int64) if self._ids is None else self._ids[start:stop]

    def batches(self, batch_rows: int, first_row: int = 0) -> Iterator[tuple[int, AnyArray]]:
        """Yield (stop, stored rows) from `first_row` on."""
        for start, stop in row_ranges(self.num_rows - first_row, batch_rows):
            rows = self.source.read(first_row + start, first_row + stop)
            if rows.shape != (stop - start, self.spec.dim):
                raise InvalidArgument(
                    f"vectors: rows {first_row + start} to {first_row + stop}: the source gave shape {list(rows.shape)}"
                )
            yield first_row + stop, stored_rows(self.spec, rows, first_row + start)
