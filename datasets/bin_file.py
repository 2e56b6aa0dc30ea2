"""fbin and its family: u32 rows, u32 dim, then the rows (big-ann-benchmarks, DiskANN, SPTAG, cuVS)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from outcrop.datasets.raw_file import RawFile, closing_on_error
from outcrop.datasets.source import Vectors, VectorSource
from outcrop.errors import CorruptFile, InvalidArgument

HEADER = struct.Struct("<II")
ELEMENTS = {"fbin": "<f4", "f16bin": "<f2", "u8bin": "<u1", "i8bin": "<i1", "ibin": "<i4"}


class BinFile(VectorSource):
    """Reads a file of the fbin family."""

    def __init__(self, path: Path, format: str) -> None:
        self._file = RawFile(path)
        with closing_on_error(self._file):
            if self._file.size_bytes < HEADER.size:
                raise CorruptFile(f"{path}: expected a header of {HEADER.size} bytes, found {self._file.size_bytes}")
            self.num_rows, self.dim = HEADER.unpack(self._file.read_bytes(0, HEADER.size))
            self.dtype = np.dtype(ELEMENTS[format])
            self.format = format
            self.path = path
            if self.dim == 0:
                raise CorruptFile(f"{path}: the header says dimension 0")
            expected = HEADER.size + self.num_rows * self.row_bytes
            self._file.require_size(expected, f"header: {self.num_rows} rows of {self.dim} {self.dtype}")

    def _read(self, start: int, stop: int) -> Vectors:
        rows = np.empty((stop - start, self.dim), dtype=self.dtype)
        self._file.read_into(rows, HEADER.size + start * self.row_bytes)
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BinWriter:
    """Writes the rows as they come, and the header again at the end, when their number is known."""

    def __init__(self, file: BinaryIO, dim: int, format: str) -> None:
        self._file, self._dim = file, dim
        self._stored = np.dtype(ELEMENTS[format])
        file.write(HEADER.pack(0, dim))

    def append(self, rows: Vectors) -> None:
        """Write rows [any, dim] of the format's element type."""
        self._file.write(rows.astype(self._stored, copy=False).data)

    def finish(self, num_rows: int) -> None:
        """Write the header."""
        if num_rows >= 1 << 32:
            raise InvalidArgument(f"{self._file.name}: the format holds fewer than 2^32 rows, found {num_rows}")
        self._file.seek(0)
        self._file.write(HEADER.pack(num_rows, self._dim))
