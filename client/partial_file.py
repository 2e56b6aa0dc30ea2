"""A file that grows from elsewhere, and is taken up where it broke off, by another process too."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from outcrop.errors import StorageFailure
from outcrop.types import check_new_file

# What is received again after a loss of power, at most.
_SYNCED_BYTES = 64 << 20


class PartialFile:
    """`path` in the making: bytes in `<path>.partial`, and in `<path>.partial.json` how many of them are durable, and
    of which content. A context manager; leaving it before `finish` keeps what is there.

    size_bytes: what is there already when it is opened.
    """

    def __init__(self, path: Path, etag: str) -> None:
        """etag: of what is received; what is there of another content is forgotten. Raises AlreadyExists, NotFound,
        StorageFailure."""
        check_new_file(path)
        self._path, self._etag = path, etag
        self._partial = path.with_name(f"{path.name}.partial")
        self._note = path.with_name(f"{path.name}.partial.json")
        with _storage_failures(self._partial):
            self.size_bytes = self._durable_bytes()
            self._file: BinaryIO = self._partial.open("r+b" if self.size_bytes else "wb")
            self._file.truncate(self.size_bytes)
            self._file.seek(self.size_bytes)
        self._synced_bytes = self.size_bytes

    def write(self, data: memoryview) -> None:
        """Append. Raises StorageFailure."""
        with _storage_failures(self._partial):
            self._file.write(data)
            self.size_bytes += len(data)
            if self.size_bytes - self._synced_bytes >= _SYNCED_BYTES:
                self._sync()

    def finish(self) -> None:
        """Make it durable, under its name. Raises StorageFailure; AlreadyExists when there is one meanwhile."""
        with _storage_failures(self._partial):
            self._sync()
            self._file.close()
        check_new_file(self._path)
        with _storage_failures(self._path):
            self._partial.rename(self._path)
            self._note.unlink()
            _sync_folder(self._path.parent)

    def close(self) -> None:
        """Keep what is there, for the next one. Closing twice is allowed. Raises StorageFailure, closed all the
        same."""
        if self._file.closed:
            return
        try:
            with _storage_failures(self._partial):
                self._sync()
        finally:
            with suppress(OSError):
                self._file.close()

    def __enter__(self) -> "PartialFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What went wrong before is what the caller must learn of.
        with suppress(StorageFailure) if error is not None else nullcontext():
            self.close()

    def _durable_bytes(self) -> int:
        """What can be gone on from: nothing where there is no note, or one of another content."""
        try:
            note = json.loads(self._note.read_text())
            size_bytes = int(note["size_bytes"])
            if note["etag"] == self._etag and 0 <= size_bytes <= self._partial.stat().st_size:
                return size_bytes
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return 0

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        scratch = self._note.with_name(f"{self._note.name}.new")
        with scratch.open("w") as file:
            json.dump({"etag": self._etag, "size_bytes": self.size_bytes}, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(self._note)
        _sync_folder(self._path.parent)
        self._synced_bytes = self.size_bytes


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except StorageFailure:
        raise
    except OSError as error:
        raise StorageFailure(error.errno, f"write: {error.strerror}", str(path)) from error
