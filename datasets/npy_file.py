"""npy, versions 1 to 3 (NumPy), two-dimensional, in either order and either byte order. Objects are never unpickled."""

from __future__ import annotations

import ast
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from outcrop.datasets.raw_file import RawFile, closing_on_error
from outcrop.datasets.source import Vectors, VectorSource, native_dtype
from outcrop.errors import CorruptFile, InvalidArgument, UnsupportedFormat

MAGIC = b"\x93NUMPY"
# NumPy refuses longer headers too: ast.literal_eval is not made for hostile input of any length.
MAX_HEADER_BYTES = 10_000


class NpyFile(VectorSource):
    """Reads an npy file of shape [num_rows, dim]."""

    def __init__(self, path: Path) -> None:
        self._file = RawFile(path)
        with closing_on_error(self._file):
            header = read_header(self._file)
            if len(header.shape) != 2 or header.shape[1] < 1:
                raise InvalidArgument(
                    f"{path}: vectors must have the shape [rows, dim >= 1], found {list(header.shape)}"
                )
            self._stored, self._fortran, self._offset = header.stored, header.fortran, header.offset_bytes
            self.num_rows, self.dim = header.shape
            self.dtype = native_dtype(self._stored, str(path))
            self.format = "npy"
            self.path = path
            expected = self._offset + self.num_rows * self.row_bytes
            self._file.require_size(expected, f"header: {self.num_rows} x {self.dim} {self._stored.str}")

    def _read(self, start: int, stop: int) -> Vectors:
        read = self._read_columns if self._fortran else self._read_rows
        rows: Vectors = np.ascontiguousarray(read(start, stop), dtype=self.dtype)
        return rows

    def _read_rows(self, start: int, stop: int) -> Vectors:
        rows: Vectors = np.empty((stop - start, self.dim), dtype=self._stored)
        self._file.read_into(rows, self._offset + start * self.row_bytes)
        return rows

    def _read_columns(self, start: int, stop: int) -> Vectors:
        columns: Vectors = np.empty((self.dim, stop - start), dtype=self._stored)
        for i, column in enumerate(columns):
            self._file.read_into(column, self._offset + (i * self.num_rows + start) * self.dtype.itemsize)
        rows: Vectors = columns.T
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class NpyWriter:
    """Writes npy version 1 with room in the header for any number of rows, which is filled in at the end."""

    HEADER_BYTES = 128

    def __init__(self, file: BinaryIO, row_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """row_shape: (dim,) for vectors, () for an array of one dimension."""
        self._file, self._row_shape = file, row_shape
        self._stored = dtype.newbyteorder("<")
        file.write(self._header(0))

    def _header(self, num_rows: int) -> bytes:
        shape = (num_rows, *self._row_shape)
        text = f"{{'descr': {self._stored.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
        length = self.HEADER_BYTES - len(MAGIC) - 4
        return MAGIC + bytes([1, 0]) + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"

    def append(self, rows: Vectors) -> None:
        """Write rows [any, *row_shape] of the writer's element type."""
        self._file.write(rows.astype(self._stored, copy=False).data)

    def finish(self, num_rows: int) -> None:
        """Write the header with the number of rows."""
        self._file.seek(0)
        self._file.write(self._header(num_rows))


class BytesFile(Protocol):
    """What a header is read from: a file, or a part of one."""

    @property
    def path(self) -> Path | str:
        """What error messages call it."""
        ...

    def read_bytes(self, offset_bytes: int, length: int) -> bytes:
        """Return exactly `length` bytes, or raise CorruptFile."""
        ...


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What an npy file says of its array. stored: the element type in the file's byte order. offset_bytes: of the
    data."""

    stored: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    offset_bytes: int


def read_header(file: BytesFile) -> NpyHeader:
    """Return the header of an npy file. Raises CorruptFile, UnsupportedFormat, InvalidArgument for objects."""
    magic = file.read_bytes(0, 8)
    if magic[:6] != MAGIC:
        raise CorruptFile(f"{file.path}: expected an npy file to begin with {MAGIC!r}, found {magic[:6]!r}")
    version = magic[6]
    if version not in (1, 2, 3):
        raise UnsupportedFormat(f"{file.path}: npy version {version}, supported are 1 to 3")
    length_format = "<H" if version == 1 else "<I"
    length_bytes = struct.calcsize(length_format)
    (length,) = struct.unpack(length_format, file.read_bytes(8, length_bytes))
    if length > MAX_HEADER_BYTES:
        raise CorruptFile(f"{file.path}: an npy header of {length} bytes, expected at most {MAX_HEADER_BYTES}")
    text = file.read_bytes(8 + length_bytes, length)
    try:
        header = ast.literal_eval(text.decode("utf-8" if version == 3 else "latin-1").strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise CorruptFile(f"{file.path}: the npy header is not a literal: {error}") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise CorruptFile(f"{file.path}: the npy header must hold descr, fortran_order and shape")
    return _checked(header, file.path, 8 + length_bytes + length)


def _checked(header: dict[str, Any], path: Path | str, offset_bytes: int) -> NpyHeader:
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    try:
        stored = np.dtype(descr)
    except (TypeError, ValueError) as error:
        raise CorruptFile(f"{path}: the npy header names no element type: {descr!r}") from error
    if stored.hasobject or stored.names or stored.subdtype:
        raise InvalidArgument(f"{path}: holds {stored}, expected plain numbers (objects are never unpickled)")
    if not isinstance(fortran, bool):
        raise CorruptFile(f"{path}: fortran_order is {fortran!r}, expected True or False")
    whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not whole:
        raise CorruptFile(f"{path}: the npy header gives the shape {shape!r}")
    return NpyHeader(stored, fortran, shape, offset_bytes)
