"""Parquet with one column of lists of numbers, fixed-size or not. Needs the extra `arrow`."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.datasets.raw_file import RawFile
from outcrop.datasets.source import Vectors, VectorSource, native_dtype
from outcrop.errors import CorruptFile, InvalidArgument, NotFound

DEFAULT_COLUMN = "vector"
ROW_GROUP_BYTES = 64 << 20
BATCH_BYTES = 4 << 20


class ParquetFile(VectorSource):
    """Reads one column of lists, all of one length. Rows in order are streamed; a step back reads a row group again.

    One thread at a time.
    """

    def __init__(self, path: Path, column: str | None = None) -> None:
        arrow, parquet = _pyarrow()
        RawFile(path).close()
        with parquet_refusals(path):
            self._file = parquet.ParquetFile(path)
            self._column = column or _only_vector_column(self._file.schema_arrow, arrow, path)
            kind = _list_type(self._file.schema_arrow, self._column, arrow, path)
            metadata = self._file.metadata
            counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self.dtype = native_dtype(np.dtype(kind.value_type.to_pandas_dtype()), f"{path}: {self._column}")
            self._first_rows = [0, *itertools.accumulate(counts)]
            self.num_rows = self._first_rows[-1]
            self.format = "parquet"
            self.path = path
            self._closed = False
            self.dim = kind.list_size if arrow.types.is_fixed_size_list(kind) else self._first_length()
        if self.dim < 1:
            raise InvalidArgument(f"{path}: {self._column} must hold lists of at least one number, found {self.dim}")
        self._next_row, self._pieces, self._rest = 0, self._stream(0), self._no_rows()

    def _first_length(self) -> int:
        if self.num_rows == 0:
            raise InvalidArgument(f"{self.path}: {self._column} holds no lists, and so no dimension")
        first = next(self._file.iter_batches(batch_size=1, columns=[self._column]))
        return len(first.column(0)[0].values or ()) if first.column(0)[0].is_valid else 0

    def _read(self, start: int, stop: int) -> Vectors:
        if self._closed:
            raise InvalidArgument(f"{self.path}: the file was closed")
        with parquet_refusals(self.path):
            if start != self._next_row:
                self._seek(start)
            # Until this read has succeeded, the next one must seek.
            self._next_row = -1
            pieces = [self._rest]
            available = len(self._rest)
            while available < stop - start:
                pieces.append(next(self._pieces))
                available += len(pieces[-1])
            rows: Vectors = np.concatenate(pieces)
        self._rest = rows[stop - start :].copy()
        self._next_row = stop
        return rows[: stop - start]

    def _seek(self, start: int) -> None:
        group = max(0, bisect.bisect_right(self._first_rows, start) - 1)
        self._pieces = self._stream(group)
        self._rest = self._no_rows()
        skip = start - self._first_rows[group]
        while skip > 0 and start < self.num_rows:
            piece = next(self._pieces)
            self._rest = piece[skip:].copy()
            skip -= min(skip, len(piece))

    def _stream(self, first_group: int) -> Iterator[Vectors]:
        """Yield the rows from a row group on, a few megabytes at a time."""
        groups = list(range(first_group, len(self._first_rows) - 1))
        row = self._first_rows[first_group]
        batch_rows = max(1, BATCH_BYTES // self.row_bytes)
        for batch in self._file.iter_batches(batch_size=batch_rows, row_groups=groups, columns=[self._column]):
            yield self._rows_of(batch.column(0), row)
            row += len(batch)
        raise CorruptFile(f"{self.path}: expected {self.num_rows} rows, found {row}")

    def _rows_of(self, lists: Any, first_row: int) -> Vectors:
        """Return the lists as an array [len(lists), dim]; refuse nulls and other lengths by row."""
        lengths = lists.value_lengths().to_numpy(zero_copy_only=False) if len(lists) else np.empty(0)
        wrong = np.flatnonzero(lengths != self.dim)
        if lists.null_count:
            wrong = np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False))
        if wrong.size:
            found = lists[int(wrong[0])].as_py()
            text = "null" if found is None else f"{len(found)} numbers"
            row = first_row + int(wrong[0])
            raise InvalidArgument(f"{self.path}: {self._column}: row {row} holds {text}, expected {self.dim}")
        values = lists.flatten()
        if values.null_count:
            row = first_row + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // self.dim
            raise InvalidArgument(f"{self.path}: {self._column}: row {row} holds a null")
        rows: Vectors = values.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)
        return rows.reshape(len(lists), self.dim)

    def _no_rows(self) -> Vectors:
        return np.empty((0, self.dim), dtype=self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._file.close()


class ParquetWriter:
    """Writes one column of fixed-size lists, in row groups of about 64 MiB."""

    def __init__(self, path: Path, dim: int, dtype: np.dtype[Any], column: str | None = None) -> None:
        self._arrow, parquet = _pyarrow()
        self._dim = dim
        self._type = self._arrow.list_(self._arrow.from_numpy_dtype(dtype), dim)
        self._schema = self._arrow.schema([self._arrow.field(column or DEFAULT_COLUMN, self._type, nullable=False)])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="none", use_dictionary=False)
        self._group_rows = max(1, ROW_GROUP_BYTES // (dim * dtype.itemsize))
        self._waiting: list[Vectors] = []
        self._num_waiting = 0

    def append(self, rows: Vectors) -> None:
        """Write rows [any, dim] of the writer's element type; they are copied while a row group fills."""
        self._waiting.append(rows.copy())
        self._num_waiting += len(rows)
        if self._num_waiting >= self._group_rows:
            self._flush()

    def _flush(self) -> None:
        values = self._arrow.array(np.concatenate(self._waiting).reshape(-1))
        lists = self._arrow.FixedSizeListArray.from_arrays(values, type=self._type)
        table = self._arrow.Table.from_arrays([lists], schema=self._schema)
        self._writer.write_table(table, row_group_size=self._group_rows)
        self._waiting, self._num_waiting = [], 0

    def finish(self, num_rows: int) -> None:
        """Write the last row group and the footer."""
        if self._num_waiting:
            self._flush()
        self._writer.close()

    def abort(self) -> None:
        """Close the file, whatever it holds."""
        self._writer.close()


def _only_vector_column(schema: Any, arrow: Any, path: Path) -> str:
    names: list[str] = [field.name for field in schema if _is_vector(field.type, arrow)]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise InvalidArgument(f"{path}: expected one column of lists of numbers, found {found}; name the column")
    return names[0]


def _list_type(schema: Any, column: str, arrow: Any, path: Path) -> Any:
    if column not in schema.names:
        raise NotFound(f"{path}: no column {column!r}, found {', '.join(schema.names)}")
    kind = schema.field(column).type
    if not _is_vector(kind, arrow):
        raise InvalidArgument(f"{path}: column {column} holds {kind}, expected lists of numbers")
    return kind


def _is_vector(kind: Any, arrow: Any) -> bool:
    types = arrow.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InvalidArgument("Parquet files need pyarrow: pip install 'outcrop[arrow]'") from error
    return pyarrow, pyarrow.parquet


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """Give the library's own `ParquetFile`, for what is not vectors."""
    _, parquet = _pyarrow()
    with parquet_refusals(path):
        file = parquet.ParquetFile(path)
    try:
        yield file
    finally:
        file.close()


@contextmanager
def parquet_refusals(path: Path | None) -> Iterator[None]:
    """Turn what the library raises on damaged files into CorruptFile (ArrowException is a family of these)."""
    arrow, _ = _pyarrow()
    try:
        yield
    except (InvalidArgument, NotFound):
        raise
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise CorruptFile(f"{path}: Parquet: {error}") from error
