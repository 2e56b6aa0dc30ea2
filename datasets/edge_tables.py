"""Edges in tables: text and Parquet, one edge a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from outcrop.datasets.array_file import file_identity
from outcrop.datasets.edge_columns import EdgeColumns, choose_columns
from outcrop.datasets.parquet_file import open_parquet, parquet_refusals
from outcrop.datasets.raw_file import RawFile
from outcrop.datasets.text_table import TextTable
from outcrop.errors import InvalidArgument
from outcrop.types import EdgeBatch

_DTYPES = {"src": np.int64, "dst": np.int64, "weight": np.float32, "time": np.int64, "edge_id": np.int64}
_BATCH_ROWS = 1 << 18


class Table(Protocol):
    """Rows of a file, in pieces."""

    path: Path

    def batches(self, columns: list[int], dtypes: list[Any]) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield these columns as arrays of these types."""
        ...


class TableEdges:
    """The edges of a table, in its order; a CooEdges.

    ids: edge i has the id i, so that rows of edge features stay valid, unless the table has a column of ids.
    """

    def __init__(self, table: Table, columns: EdgeColumns, num_edges: int | None = None, ids: bool = False) -> None:
        if ids and columns.edge_id is not None:
            raise InvalidArgument(f"{table.path}: has ids of its own; ask for no others")
        self._table, self._columns, self._ids = table, columns, ids
        self.num_edges = num_edges

    @property
    def form(self) -> Literal["coo"]:
        """Any order."""
        return "coo"

    def batches(self) -> Iterator[EdgeBatch]:
        """Yield the edges. Raises InvalidArgument naming the line or row that is none."""
        used = self._columns.used()
        done = 0
        for arrays in self._table.batches([column for _, column in used], [_DTYPES[role] for role, _ in used]):
            fields = dict(zip((role for role, _ in used), arrays, strict=True))
            if self._ids:
                fields["edge_id"] = np.arange(done, done + len(arrays[0]))
            done += len(arrays[0])
            yield EdgeBatch(**fields)

    def identity(self) -> str:
        """Return a text that changes when the file does, or what is read of it."""
        return f"{file_identity(self._table.path)} {self._columns} {self._ids}"


class ParquetTable:
    """The flat columns of a Parquet file. Needs the extra `arrow`."""

    def __init__(self, path: Path) -> None:
        RawFile(path).close()
        self.path = path
        with open_parquet(path) as file:
            self.names = list(file.schema_arrow.names)
            self.num_rows = int(file.metadata.num_rows)

    def batches(self, columns: list[int], dtypes: list[Any]) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield these columns as arrays of these types. Raises InvalidArgument naming the row of a null."""
        names = [self.names[column] for column in columns]
        done = 0
        with open_parquet(self.path) as file, parquet_refusals(self.path):
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=sorted(set(names))):
                wanted = zip(names, map(np.dtype, dtypes), strict=True)
                yield [self._array(batch.column(name), name, dtype, done) for name, dtype in wanted]
                done += len(batch)

    def _array(self, column: Any, name: str, dtype: np.dtype[Any], first_row: int) -> npt.NDArray[Any]:
        if column.null_count:
            row = first_row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise InvalidArgument(f"{self.path}: {name}: row {row} holds a null")
        values = column.to_numpy(zero_copy_only=False)
        if values.dtype.kind not in ("iu" if dtype.kind == "i" else "iuf"):
            raise InvalidArgument(f"{self.path}: {name}: expected {dtype}, found {values.dtype}")
        array: npt.NDArray[Any] = values.astype(dtype, copy=False)
        return array


def open_text_edges(path: Path, columns: str | None = None, ids: bool = False) -> TableEdges:
    """Open a text table of edges; see `choose_columns`."""
    table = TextTable(path)
    return TableEdges(table, choose_columns(table.names, table.num_columns, columns, str(path)), None, ids)


def open_parquet_edges(path: Path, columns: str | None = None, ids: bool = False) -> TableEdges:
    """Open a Parquet table of edges; see `choose_columns`."""
    table = ParquetTable(path)
    return TableEdges(table, choose_columns(table.names, len(table.names), columns, str(path)), table.num_rows, ids)
