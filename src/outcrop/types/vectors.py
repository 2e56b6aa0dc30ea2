"""Vectors and their ids, as callers have them: an array, an opened file, an iterable of batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import AnyArray, Int64Array
from outcrop.types.collection import CollectionSpec, VectorSource

# Of a string id.
_LONGEST_BYTES = 1024


class ArraySource:
    """An array [n, dim], memory-mapped or not, as a VectorSource."""

    def __init__(self, array: AnyArray) -> None:
        """array: two dimensions. Raises InvalidArgument otherwise."""
        if array.ndim != 2:
            raise InvalidArgument(f"vectors: expected shape [n, dim], found {list(array.shape)}")
        self.array = array
        self.num_rows, self.dim = int(array.shape[0]), int(array.shape[1])
        self.dtype = array.dtype

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop)."""
        return np.ascontiguousarray(self.array[start:stop])


def as_vector_source(vectors: Any) -> VectorSource | None:
    """Return a VectorSource over `vectors`, or None for an iterable of batches, which must be spooled first."""
    if isinstance(vectors, np.ndarray):
        return ArraySource(vectors)
    if hasattr(vectors, "read") and hasattr(vectors, "num_rows"):
        source: VectorSource = vectors
        return source
    if isinstance(vectors, list | tuple):
        try:
            return ArraySource(np.asarray(vectors))
        except ValueError as error:
            raise InvalidArgument(f"vectors: expected rows of one length: {error}") from error
    if isinstance(vectors, Iterable):
        return None
    raise InvalidArgument(
        f"vectors: expected an array, an opened file or batches of arrays, found {type(vectors).__name__}"
    )


def checked_batches(batches: Iterable[npt.ArrayLike]) -> Iterator[AnyArray]:
    """Yield the arrays of an iterable, C-contiguous. Raises InvalidArgument unless they fit together, and for none."""
    num_rows, dim = 0, 0
    dtype: np.dtype[Any] = np.dtype(np.float32)
    for batch in batches:
        array = np.ascontiguousarray(batch)
        if array.ndim != 2 or (num_rows and (array.shape[1] != dim or array.dtype != dtype)):
            raise InvalidArgument(
                f"vectors: batch at row {num_rows}: expected shape [n, {dim or 'dim'}] and one dtype throughout, "
                f"found {list(array.shape)} of {array.dtype}"
            )
        dim, dtype = array.shape[1], array.dtype
        num_rows += len(array)
        yield array
    if not num_rows:
        raise InvalidArgument("vectors: expected at least one batch with at least one row, found none")


def check_rows(spec: CollectionSpec, rows: AnyArray, name: str) -> None:
    """Raise InvalidArgument unless an array called `name` has the shape and the kind of a collection's vectors."""
    if rows.ndim != 2 or rows.shape[1] != spec.dim:
        raise InvalidArgument(f"{name}: expected shape [n, {spec.dim}], found {list(rows.shape)}")
    if rows.dtype.kind not in "fiu":
        raise InvalidArgument(f"{name}: expected float32, float16, uint8 or int8, found {rows.dtype}")


def check_source(spec: CollectionSpec, source: VectorSource, texts: list[str] | None = None) -> None:
    """Raise InvalidArgument unless a collection can take the rows of a source, as far as its shape tells.

    texts: their ids, in a collection with string ids.
    """
    if texts is not None and len(texts) != source.num_rows:
        raise InvalidArgument(f"ids: expected {source.num_rows} strings, found {len(texts)}")
    if source.dim != spec.dim:
        raise InvalidArgument(f"vectors: expected dimension {spec.dim}, found {source.dim}")
    if source.num_rows < 1:
        raise InvalidArgument("vectors: expected at least one row, found none")
    if str(source.dtype) not in ("float32", "float16", "uint8", "int8", "float64"):
        raise InvalidArgument(f"vectors: expected float32, float16, uint8 or int8, found {source.dtype}")


def checked_ids(ids: npt.ArrayLike, num_rows: int) -> Int64Array:
    """Return int64 ids [num_rows]. Raises InvalidArgument, naming the row, for another length or type or a negative
    id."""
    array = np.asarray(ids)
    if array.shape != (num_rows,):
        raise InvalidArgument(f"ids: expected one for each of the {num_rows} vectors, found shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise InvalidArgument(
            f"ids: expected integers (or strings in a collection with string ids), found {array.dtype}"
        )
    too_large = np.flatnonzero(array > np.iinfo(np.int64).max) if array.dtype.kind == "u" else np.flatnonzero(array < 0)
    if too_large.size:
        row = int(too_large[0])
        raise InvalidArgument(f"ids: row {row}: expected 0 to 2^63 - 1, found {array[row]}")
    return np.ascontiguousarray(array, dtype=np.int64)


def check_strings(ids: Any) -> list[str]:
    """Return ids as a list of text. Raises InvalidArgument, naming the row, for other types, repeats and over-long
    ones; and for None."""
    if ids is None:
        raise InvalidArgument("ids: a collection with string ids needs a string for every vector")
    strings = list(ids)
    seen: dict[str, int] = {}
    for row, value in enumerate(strings):
        if not 1 <= _encoded_bytes(value) <= _LONGEST_BYTES:
            raise InvalidArgument(f"ids: row {row}: expected text of 1 to {_LONGEST_BYTES} bytes, found {value!r:.80}")
        first = seen.setdefault(value, row)
        if first != row:
            raise InvalidArgument(f"ids: row {row}: id {value!r:.80} stands in row {first} already")
    return [str(value) for value in strings]


def _encoded_bytes(value: Any) -> int:
    """Return the length in UTF-8, 0 for what has none: other types, and text with lone surrogates."""
    try:
        return len(value.encode()) if isinstance(value, str) else 0
    except UnicodeEncodeError:
        return 0
