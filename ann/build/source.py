"""The input of a build: what it is known by, and its rows as they are stored."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from outcrop import native
from outcrop.ann.edge import stored_rows
from outcrop.errors import InvalidArgument
from outcrop.types import (
    AnyArray,
    ArraySource,
    CollectionSpec,
    Int64Array,
    VectorSource,
    checked_batches,
    checked_ids,
    memmap_place,
    row_ranges,
)

# One checksum tells that an array in memory is still the same for this many bytes of it.
_CHECKSUM_BYTES = 1 << 20


def identity(source: VectorSource) -> str | None:
    """Return a text that changes when the vectors do, or None where nothing tells.

    Of a file its path, size and time of change; of an array in memory a digest over checksums of all its bytes.
    """
    array = source.array if isinstance(source, ArraySource) else None
    path = getattr(array, "filename", None) if array is not None else getattr(source, "path", None)
    if path is not None:
        status = Path(path).stat()
        place = memmap_place(array) if isinstance(array, np.memmap) else []
        found = [str(Path(path).resolve()), status.st_size, status.st_mtime_ns, *place]
    elif array is not None:
        rows = max(1, _CHECKSUM_BYTES // max(1, array[:1].nbytes))
        found = [native.crc32c(source.read(*part).view(np.uint8).ravel()) for part in row_ranges(len(array), rows)]
    else:
        return None
    shape = [source.num_rows, source.dim, str(source.dtype)]
    return hashlib.sha256(json.dumps([shape, found]).encode()).hexdigest()


def spooled(batches: Iterable[AnyArray], path: Path) -> ArraySource:
    """Write the batches of an iterable to a file, and return that. Raises InvalidArgument unless they fit together."""
    num_rows = 0
    with path.open("wb") as file:
        for array in checked_batches(batches):
            array.tofile(file)
            num_rows += len(array)
    return ArraySource(np.memmap(path, array.dtype, "r", shape=(num_rows, array.shape[1])))


class BuildInput:
    """Checked batches of a source: rows as they are stored, and their ids."""

    def __init__(self, spec: CollectionSpec, source: VectorSource, ids: Any) -> None:
        """source: one that `check_source` lets pass. ids: int64 [n]; None numbers the rows. String ids are
        numbered too; their text is the caller's to store."""
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
