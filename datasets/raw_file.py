"""A file read by absolute offsets, whose every failure is one of ours."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from outcrop.errors import CorruptFile, InvalidArgument, NotFound, OutcropError, StorageFailure


class RawFile:
    """An open file and its size. `read_into` is safe from several threads.

    Vectors are read with pread rather than mapped: a file that shrinks while it is read gives CorruptFile instead of
    SIGBUS, and a build's peak memory counts what the build asked for rather than whatever pages were touched.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if os.path.isdir(descriptor):  # noqa: PTH112  a descriptor is not a Path
                os.close(descriptor)
                raise InvalidArgument(f"{path}: is a folder, expected a file")
            self.size_bytes = os.fstat(descriptor).st_size
        except OSError as error:
            raise translate(error, path) from error
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, os.close, descriptor)

    def read_into(self, out: np.ndarray[Any, Any], offset_bytes: int) -> None:
        """Fill the C-contiguous array `out` from `offset_bytes`; CorruptFile if the file ends before it is full."""
        if not self._close.alive:
            raise InvalidArgument(f"{self.path}: the file was closed")
        view = out.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self._descriptor, [view[done:]], offset_bytes + done)
            except OSError as error:
                raise translate(error, self.path) from error
            if count == 0:
                raise CorruptFile(
                    f"{self.path}: expected {len(view)} bytes at offset {offset_bytes}, the file ends after {done}"
                )
            done += count

    def read_bytes(self, offset_bytes: int, length: int) -> bytes:
        """Return exactly `length` bytes; CorruptFile if the file ends before."""
        out = np.empty(length, dtype=np.uint8)
        self.read_into(out, offset_bytes)
        return out.tobytes()

    def require_size(self, expected_bytes: int, because: str) -> None:
        """Raise CorruptFile unless the file is exactly `expected_bytes` long; `because` quotes the header."""
        if self.size_bytes != expected_bytes:
            raise CorruptFile(f"{self.path}: expected {expected_bytes} bytes ({because}), found {self.size_bytes}")

    def close(self) -> None:
        """Close the descriptor, once."""
        with self._lock:
            self._close()


class Closable(Protocol):
    """Anything that `close` releases."""

    def close(self) -> None:
        """Release it."""
        ...


class closing_on_error:
    """`with closing_on_error(file):` closes the file when its header is refused."""

    def __init__(self, file: Closable) -> None:
        self._file = file

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._file.close()


def translate(error: OSError, path: Path | str) -> OutcropError:
    """Return our error for the operating system's, naming the file."""
    if error.errno == errno.ENOENT:
        return NotFound(f"{path}: no such file")
    return StorageFailure(error.errno or errno.EIO, f"{path}: {error.strerror or error}")
