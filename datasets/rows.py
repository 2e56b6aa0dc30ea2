"""The door to rows of features, labels or any numbers in files: open any known format as a RowSource."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.datasets.array_file import file_identity, open_array
from outcrop.datasets.graphbolt_folder import METADATA, open_graphbolt_rows
from outcrop.datasets.source import VectorSource
from outcrop.datasets.text_table import TextTable, is_text
from outcrop.datasets.vectors import open_vectors
from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, RowSource

_VECTORS = (".fbin", ".u8bin", ".i8bin", ".fvecs", ".bvecs", ".ivecs", ".hdf5", ".h5", ".hdf", ".parquet", ".pq")
_TEXT_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint32", "uint16", "uint8")


def open_rows(
    path: str | os.PathLike[str],
    part: str | None = None,
    dtype: str | None = None,
    row_shape: Sequence[int] | None = None,
) -> RowSource:
    """Open rows of features, labels, or any numbers: npy of any shape, npz, a file of nothing but elements, a file of
    vectors, a text table, or a node feature of GraphBolt's metadata.yaml.

    part: of npz, HDF5, Parquet or metadata.yaml. dtype, row_shape: of a header-less file, see `open_array`; a text
    table is read as `dtype`, float32 unless said.
    Raises NotFound, InvalidArgument, CorruptFile, UnsupportedFormat.
    """
    path = Path(path)
    if path.name == METADATA or (path / METADATA).exists():
        return open_graphbolt_rows(path if path.name == METADATA else path / METADATA, part or "feat")
    if is_text(path):
        refuse_options(path, part=part, row_shape=row_shape)
        return TextRows(path, dtype or "float32")
    if path.suffix in _VECTORS and row_shape is None:
        refuse_options(path, dtype=dtype)
        return VectorRows(open_vectors(path, dataset=part))
    return open_array(path, part, dtype, row_shape)


class TextRows:
    """The rows of a text table, [lines, columns], or [lines] where there is one column; a RowSource.

    Lines are counted by reading the table once; rows are read in order, and from the beginning after a step back.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        if dtype not in _TEXT_DTYPES:
            raise InvalidArgument(f"{path}: text is read as one of {', '.join(_TEXT_DTYPES)}, not {dtype}")
        self._table = TextTable(path)
        self.path = path
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.row_shape: tuple[int, ...] = () if self._table.num_columns == 1 else (self._table.num_columns,)
        self.num_rows = self._table.count_rows()
        self._batches, self._waiting, self._next = self._rewound()

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop), [stop - start, *row_shape]."""
        if not 0 <= start <= stop <= self.num_rows:
            raise InvalidArgument(f"{self.path}: rows {start} to {stop} asked, but there are {self.num_rows}")
        if start < self._next:
            self._batches, self._waiting, self._next = self._rewound()
        while self._next + len(self._waiting) < stop:
            self._drop(start)
            self._waiting = np.concatenate([self._waiting, next(self._batches)])
        self._drop(start)
        rows: AnyArray = self._waiting[: stop - start].reshape(stop - start, *self.row_shape).copy()
        return rows

    def identity(self) -> str:
        """Return a text that changes when the file does."""
        return f"{file_identity(self.path)} {self.dtype}"

    def _rewound(self) -> tuple[Iterator[AnyArray], AnyArray, int]:
        """Return batches from the beginning on, rows that wait, and the number of the first of them."""
        return self._table.matrix_batches(self.dtype), np.empty((0, self._table.num_columns), self.dtype), 0

    def _drop(self, before: int) -> None:
        dropped = min(before - self._next, len(self._waiting))
        self._waiting = self._waiting[dropped:]
        self._next += dropped


class VectorRows:
    """The vectors of a file as rows; a RowSource."""

    def __init__(self, vectors: VectorSource) -> None:
        self._vectors = vectors
        self.num_rows, self.row_shape, self.dtype = vectors.num_rows, (vectors.dim,), vectors.dtype

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop)."""
        return self._vectors.read(start, stop)

    def identity(self) -> str:
        """Return a text that changes when the file does."""
        assert self._vectors.path is not None
        return f"{file_identity(self._vectors.path)} {self._vectors!r}"

    def close(self) -> None:
        """Close the file."""
        self._vectors.close()


def refuse_options(path: Path, **asked: object) -> None:
    """Raise InvalidArgument for an option, other than None, that says nothing about a file of this kind."""
    for name, value in asked.items():
        if value is not None:
            raise InvalidArgument(f"{path}: {name} {value!r} was asked, which says nothing about such a file")
