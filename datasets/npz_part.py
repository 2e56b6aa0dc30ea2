"""The arrays inside an npz file, which is a zip of npy files: read in place when stored, streamed when compressed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from outcrop.datasets.raw_file import RawFile, closing_on_error, translate
from outcrop.errors import CorruptFile, InvalidArgument, NotFound

_LOCAL_HEADER_BYTES = 30
_SKIP_BYTES = 1 << 20


def part_names(path: Path) -> list[str]:
    """Return the names of the arrays. Raises CorruptFile."""
    with _refusals(path), zipfile.ZipFile(path) as file:
        return [name.removesuffix(".npy") for name in file.namelist()]


def open_part(path: Path, name: str) -> StoredPart | DeflatedPart:
    """Open one array's npy file. Raises NotFound, CorruptFile."""
    with _refusals(path), zipfile.ZipFile(path) as file:
        known = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
    if name not in known:
        raise NotFound(f"{path}: no part {name!r}, found {', '.join(known) or 'none'}")
    info = known[name]
    if info.compress_type == zipfile.ZIP_STORED:
        return StoredPart(path, info)
    return DeflatedPart(path, info)


class StoredPart:
    """A part that lies in the file as it is. `read_into` is safe from several threads.

    The zip's checksum is of the whole part, so ranges are read unchecked, as those of a plain npy file are.
    """

    def __init__(self, path: Path, info: zipfile.ZipInfo) -> None:
        self.path = f"{path}::{info.filename}"
        self.size_bytes = info.file_size
        self._file = RawFile(path)
        with closing_on_error(self._file):
            # The lengths of name and extra field in front of the data need not be those of the directory.
            header = self._file.read_bytes(info.header_offset, _LOCAL_HEADER_BYTES)
            if header[:4] != b"PK\x03\x04":
                raise CorruptFile(f"{path}: expected {info.filename} at offset {info.header_offset}")
            lengths = np.frombuffer(header, "<u2", 2, 26)
            self._begin = info.header_offset + _LOCAL_HEADER_BYTES + int(lengths.sum())

    def read_into(self, out: np.ndarray[Any, Any], offset_bytes: int) -> None:
        """Fill the C-contiguous array `out`."""
        if offset_bytes + out.nbytes > self.size_bytes:
            raise CorruptFile(f"{self.path}: {out.nbytes} bytes at offset {offset_bytes} lie beyond the end")
        self._file.read_into(out, self._begin + offset_bytes)

    def read_bytes(self, offset_bytes: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        out = np.empty(length, np.uint8)
        self.read_into(out, offset_bytes)
        return out.tobytes()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DeflatedPart:
    """A compressed part. Reads in order are streamed; a step back begins again. One thread at a time."""

    def __init__(self, path: Path, info: zipfile.ZipInfo) -> None:
        self.path = f"{path}::{info.filename}"
        self.size_bytes = info.file_size
        self._zip_path, self._name = path, info.filename
        self._stream: IO[bytes] | None = None
        self._offset, self._closed = 0, False

    def read_into(self, out: np.ndarray[Any, Any], offset_bytes: int) -> None:
        """Fill the C-contiguous array `out`."""
        view = out.reshape(-1).view(np.uint8)
        view[:] = np.frombuffer(self.read_bytes(offset_bytes, len(view)), np.uint8)

    def read_bytes(self, offset_bytes: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        if self._closed:
            raise InvalidArgument(f"{self.path}: the file was closed")
        with _refusals(self.path):
            stream = self._at(offset_bytes)
            data = stream.read(length)
        self._offset += len(data)
        if len(data) != length:
            raise CorruptFile(f"{self.path}: expected {length} bytes at offset {offset_bytes}, found {len(data)}")
        return data

    def _at(self, offset_bytes: int) -> IO[bytes]:
        if self._stream is None or offset_bytes < self._offset:
            if self._stream is not None:
                self._stream.close()
            # The stream keeps the file open after its ZipFile is closed.
            with zipfile.ZipFile(self._zip_path) as file:
                self._stream = file.open(self._name)
            self._offset = 0
        while self._offset < offset_bytes:
            skipped = len(self._stream.read(min(_SKIP_BYTES, offset_bytes - self._offset)))
            if skipped == 0:
                break
            self._offset += skipped
        return self._stream

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()


@contextmanager
def _refusals(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CorruptFile(f"{path}: zip: {error}") from error
    except OSError as error:
        raise translate(error, path) from error
