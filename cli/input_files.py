"""The files that commands are given: vectors, perhaps only the first of them, and ids."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.datasets.source import Vectors, VectorSource
from outcrop.datasets.vectors import open_vectors
from outcrop.errors import InvalidArgument, NotFound


class FirstRows(VectorSource):
    """The first rows of another source, which the caller closes."""

    def __init__(self, source: VectorSource, num_rows: int) -> None:
        """num_rows: as many as there are, when the source has fewer."""
        self._source = source
        self.num_rows = min(num_rows, source.num_rows)
        self.dim, self.dtype, self.format, self.path = source.dim, source.dtype, source.format, source.path

    def _read(self, start: int, stop: int) -> Vectors:
        return self._source.read(start, stop)


@contextmanager
def vector_file(path: Path, limit: int | None = None, dataset: str | None = None) -> Iterator[VectorSource]:
    """Open a vector file of any known format; `limit` leaves out the rows behind it. Raises as `open_vectors` does."""
    with open_vectors(path, dataset=dataset) as source:
        yield source if limit is None else FirstRows(source, limit)


def read_queries(path: Path, limit: int | None = None) -> Vectors:
    """Return all queries of a file, or the first `limit`, [num_queries, dim]. An HDF5 file is asked for `test`."""
    hdf5 = any(suffix in (".hdf5", ".h5", ".hdf") for suffix in path.suffixes)
    with vector_file(path, limit, "test" if hdf5 else None) as source:
        return source.read(0, source.num_rows)


def read_ids(path: Path, limit: int | None = None) -> Any:
    """Return ids from a file: integers or text of a one-dimensional .npy, else the lines of a text file.

    Returns int64 [n] or a list of str. Raises NotFound, InvalidArgument.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file")
    if path.suffix != ".npy":
        with path.open(encoding="utf-8") as lines:
            try:
                return [line.rstrip("\r\n") for line in itertools.islice(lines, limit)]
            except UnicodeDecodeError as error:
                raise InvalidArgument(f"{path}: expected lines of UTF-8 text or a .npy file: {error}") from error
    try:
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidArgument(f"{path}: expected ids, integers or text: {error}") from error
    if ids.ndim != 1 or ids.dtype.kind not in "iuU":
        raise InvalidArgument(f"{path}: expected integers or text [n], found {ids.dtype} {list(ids.shape)}")
    ids = ids[:limit]
    return ids.tolist() if ids.dtype.kind == "U" else ids
