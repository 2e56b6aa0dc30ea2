"""An array of any rank in a file, read in ranges: npy, header-less, or inside an npz. Nothing is mapped or pickled."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from outcrop.datasets.npy_file import MAGIC, NpyHeader, read_header
from outcrop.datasets.npz_part import open_part, part_names
from outcrop.datasets.raw_file import RawFile, closing_on_error
from outcrop.errors import CorruptFile, InvalidArgument

AnyArray = npt.NDArray[Any]
BFLOAT16 = "bfloat16"
_ZIP_BEGINS = (b"PK\x03\x04", b"PK\x05\x06")


class Bytes(Protocol):
    """Where elements lie: a file, or a part of one."""

    @property
    def path(self) -> Path | str:
        """What error messages call it."""
        ...

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def read_into(self, out: AnyArray, offset_bytes: int) -> None:
        """Fill a C-contiguous array."""
        ...

    def read_bytes(self, offset_bytes: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class ArrayFile:
    """An array in a file: a RowSource, and one that slices along its first axis, as CscArrays want.

    shape; dtype: in native byte order; logical_dtype: "bfloat16" where uint16 means that, else None.
    Reads cost what is asked for and no more; the file may be read-only, of either byte order, and, with two axes, in
    Fortran order. A context manager.
    """

    def __init__(self, path: Path, data: Bytes, layout: NpyHeader, logical_dtype: str | None = None) -> None:
        """path: of the file that holds `data`."""
        shape = layout.shape
        if layout.stored.kind not in "biuf":
            raise InvalidArgument(f"{data.path}: holds {layout.stored}, expected whole or floating numbers")
        if not shape:
            raise InvalidArgument(f"{data.path}: holds a single number, expected an array")
        self._fortran = layout.fortran and sum(n > 1 for n in shape) > 1
        if self._fortran and len(shape) > 2:
            raise InvalidArgument(f"{data.path}: an array of {len(shape)} axes in Fortran order; save it in C order")
        self._file_path, self._data = path, data
        self._stored, self._offset = layout.stored, layout.offset_bytes
        self.shape = shape
        self.dtype: np.dtype[Any] = layout.stored.newbyteorder("=")
        self.logical_dtype = logical_dtype

    @property
    def path(self) -> str:
        """What error messages call it."""
        return str(self._data.path)

    @property
    def num_rows(self) -> int:
        """The length of the first axis."""
        return self.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The other axes; () when a row is one number."""
        return self.shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | int) -> Any:
        """Return a range of rows, or one; slices have no step, and numbers below zero count from the end."""
        if not isinstance(rows, slice):
            row = rows + len(self) if rows < 0 else rows
            return self.read(row, row + 1)[0]
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InvalidArgument(f"{self.path}: rows are read in order, a step of {step} was asked")
        return self.read(start, max(start, stop))

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop), [stop - start, *row_shape], C-contiguous, new.

        Raises InvalidArgument when the range leaves [0, num_rows], CorruptFile, StorageFailure.
        """
        if not 0 <= start <= stop <= len(self):
            raise InvalidArgument(f"{self.path}: rows {start} to {stop} asked, but there are {len(self)}")
        if self._fortran:
            columns = [self._elements(i * len(self) + start, stop - start) for i in range(self.shape[1])]
            return np.ascontiguousarray(np.stack(columns).T)
        row = math.prod(self.row_shape)
        return self._elements(start * row, (stop - start) * row).reshape(stop - start, *self.row_shape)

    def column(self, column: int, start: int, stop: int) -> AnyArray:
        """Return elements [start:stop, column] of an array of two axes."""
        if self._fortran:
            return self._elements(column * len(self) + start, stop - start)
        return np.ascontiguousarray(self.read(start, stop)[:, column])

    def row_part(self, row: int, start: int, stop: int) -> AnyArray:
        """Return elements [row, start:stop] of an array of two axes."""
        if self._fortran:
            return np.ascontiguousarray(self._elements(start * len(self), (stop - start) * len(self))[row :: len(self)])
        return self._elements(row * self.shape[1] + start, stop - start)

    def identity(self) -> str:
        """Return a text that changes when the file does."""
        return f"{file_identity(self._file_path)} {self.path} {self.shape} {self._stored.str} {self.logical_dtype}"

    def close(self) -> None:
        """Close the file."""
        self._data.close()

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _elements(self, start: int, count: int) -> AnyArray:
        """Return elements in the order in which they are stored."""
        elements = np.empty(count, self._stored)
        self._data.read_into(elements, self._offset + start * self._stored.itemsize)
        return elements.astype(self.dtype, copy=False)


def open_array(
    path: str | os.PathLike[str],
    part: str | None = None,
    dtype: str | None = None,
    row_shape: Sequence[int] | None = None,
) -> ArrayFile:
    """Open an array: an npy file, a part of an npz file, or else a file of nothing but elements, whatever its name.

    part: of an npz file, by default its only one.
    dtype, row_shape: of a header-less file, which holds as many rows as fit; of others they must be what is found.
    dtype is NumPy's name, perhaps with "<" or ">" in front (without: little-endian), or "bfloat16", which is read as
    uint16 and said by `logical_dtype`.
    Raises NotFound, InvalidArgument, CorruptFile where sizes disagree, UnsupportedFormat.
    """
    path = Path(path)
    file: Bytes = RawFile(path)
    with closing_on_error(file):
        begin = file.read_bytes(0, min(len(MAGIC), file.size_bytes))
    if begin[:4] in _ZIP_BEGINS:
        file.close()
        file = open_part(path, _only_part(path) if part is None else part)
    elif part is not None:
        file.close()
        raise InvalidArgument(f"{path}: has no parts, {part!r} was asked; only npz files have")
    with closing_on_error(file):
        if begin[:4] in _ZIP_BEGINS or begin == MAGIC:
            return ArrayFile(path, file, _npy_layout(file, dtype, row_shape), _logical(dtype))
        if dtype is None or row_shape is None:
            raise InvalidArgument(f"{path}: has no npy header; say the dtype and the shape of a row to read it raw")
        return ArrayFile(path, file, _raw_layout(file, dtype, tuple(row_shape)), _logical(dtype))


def file_identity(path: str | os.PathLike[str]) -> str:
    """Return a text that changes when the file does: its place, size and time of change."""
    path = Path(path)
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


def _only_part(path: Path) -> str:
    names = part_names(path)
    if len(names) != 1:
        raise InvalidArgument(f"{path}: holds {', '.join(names) or 'nothing'}; name the part to read")
    return names[0]


def _npy_layout(data: Bytes, dtype: str | None, row_shape: Sequence[int] | None) -> NpyHeader:
    """Return what the header says, after holding it against the file's size and what was asked for."""
    header = read_header(data)
    if dtype == BFLOAT16 and header.stored.str[1:] == "V2":  # NumPy has no bfloat16 and saves it as two opaque bytes
        header = replace(header, stored=np.dtype("<u2"))
    expected = header.offset_bytes + math.prod(header.shape) * header.stored.itemsize
    if data.size_bytes != expected:
        shape = " x ".join(map(str, header.shape))
        raise CorruptFile(
            f"{data.path}: expected {expected} bytes (header: {shape} {header.stored.str}), found {data.size_bytes}"
        )
    if row_shape is not None and tuple(row_shape) != header.shape[1:]:
        raise InvalidArgument(f"{data.path}: expected rows of {list(row_shape)}, found {list(header.shape[1:])}")
    if dtype is not None and _dtype(dtype).newbyteorder("=") != header.stored.newbyteorder("="):
        raise InvalidArgument(f"{data.path}: expected {dtype}, found {header.stored}")
    return header


def _raw_layout(data: Bytes, dtype: str, row_shape: tuple[int, ...]) -> NpyHeader:
    stored = _dtype(dtype)
    if any(n < 1 for n in row_shape):
        raise InvalidArgument(f"{data.path}: the shape of a row must be of numbers >= 1, found {list(row_shape)}")
    row_bytes = math.prod(row_shape) * stored.itemsize
    if row_bytes == 0 or data.size_bytes % row_bytes:
        expected = f"whole rows of {row_bytes} bytes ({list(row_shape)} {dtype})"
        raise CorruptFile(f"{data.path}: expected {expected}, found {data.size_bytes} bytes")
    return NpyHeader(stored, False, (data.size_bytes // row_bytes, *row_shape), 0)


def _logical(dtype: str | None) -> str | None:
    return BFLOAT16 if dtype == BFLOAT16 else None


def _dtype(name: str) -> np.dtype[Any]:
    try:
        found = np.dtype("uint16" if name == BFLOAT16 else name)
    except TypeError as error:
        raise InvalidArgument(f"dtype {name!r} is none that NumPy knows, nor {BFLOAT16}") from error
    return found.newbyteorder("<") if found.byteorder == "=" else found
