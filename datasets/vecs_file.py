"""fvecs, bvecs, ivecs: each row is an i32 dim followed by its elements (TEXMEX)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from outcrop.datasets.raw_file import RawFile, closing_on_error
from outcrop.datasets.source import Vectors, VectorSource
from outcrop.errors import CorruptFile, InvalidArgument

DIM_BYTES = 4
ELEMENTS = {"fvecs": "<f4", "bvecs": "<u1", "ivecs": "<i4"}


class VecsFile(VectorSource):
    """Reads a file of the fvecs family. The first row gives the dimension; every other row is held to it when read."""

    def __init__(self, path: Path, format: str) -> None:
        self._file = RawFile(path)
        with closing_on_error(self._file):
            if self._file.size_bytes == 0:
                raise InvalidArgument(f"{path}: an empty {format} file has no rows, and so no dimension")
            if self._file.size_bytes < DIM_BYTES:
                raise CorruptFile(f"{path}: expected at least {DIM_BYTES} bytes, found {self._file.size_bytes}")
            self.dim = int.from_bytes(self._file.read_bytes(0, DIM_BYTES), "little", signed=True)
            self.dtype = np.dtype(ELEMENTS[format])
            self.format = format
            self.path = path
            if self.dim < 1:
                raise CorruptFile(f"{path}: row 0 says dimension {self.dim}")
            self._stride = DIM_BYTES + self.row_bytes
            self.num_rows, rest = divmod(self._file.size_bytes, self._stride)
            if rest or self.num_rows == 0:
                raise CorruptFile(
                    f"{path}: expected a multiple of {self._stride} bytes (row 0 says dimension {self.dim} "
                    f"of {self.dtype}), found {self._file.size_bytes}"
                )

    def _read(self, start: int, stop: int) -> Vectors:
        records = np.empty((stop - start, self._stride), dtype=np.uint8)
        self._file.read_into(records, start * self._stride)
        self._check_dims(records, start)
        return np.ascontiguousarray(records[:, DIM_BYTES:]).view(self.dtype)

    def _check_dims(self, records: Vectors, start: int) -> None:
        dims = np.ascontiguousarray(records[:, :DIM_BYTES]).view("<i4")[:, 0]
        wrong = np.flatnonzero(dims != self.dim)
        if wrong.size:
            row = start + int(wrong[0])
            raise CorruptFile(
                f"{self.path}: row {row} at offset {row * self._stride} says dimension {dims[wrong[0]]}, "
                f"row 0 says {self.dim}"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class VecsWriter:
    """Writes rows, each behind its dimension."""

    def __init__(self, file: BinaryIO, dim: int, format: str) -> None:
        self._file, self._dim = file, dim
        self._stored = np.dtype(ELEMENTS[format])

    def append(self, rows: Vectors) -> None:
        """Write rows [any, dim] of the format's element type."""
        records = np.empty((len(rows), DIM_BYTES + self._dim * self._stored.itemsize), dtype=np.uint8)
        records[:, :DIM_BYTES] = np.frombuffer(self._dim.to_bytes(DIM_BYTES, "little"), dtype=np.uint8)
        records[:, DIM_BYTES:] = rows.astype(self._stored, copy=False).view(np.uint8)
        self._file.write(records.data)

    def finish(self, num_rows: int) -> None:
        """Refuse zero rows: such a file could not tell its dimension."""
        if num_rows == 0:
            raise InvalidArgument(f"{self._file.name}: a file of this format cannot hold zero rows")
