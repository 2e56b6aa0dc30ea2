"""The bytes of an unfinished download, and what they are part of."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from outcrop.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Origin:
    """What a server said of the whole file: how to know it again, and its length in bytes where it told."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What tells this content from a later one, for If-Range: a strong ETag, or else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class PartialFile:
    """`NAME.part`, locked for this process, with its origin in `NAME.part.json`. A context manager.

    Bytes are kept only together with an origin that lets the server vouch for them.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(path.name + ".part")
        self._origin_path = path.with_name(path.name + ".part.json")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise Unavailable(f"{self.path}: another process is downloading it") from error
        self.origin = self._read_origin()
        self.size_bytes = os.fstat(self._file).st_size
        if self.origin is None or self.origin.url != url or self.origin.validator is None:
            self.restart(None)

    def _read_origin(self) -> Origin | None:
        try:
            return Origin(**json.loads(self._origin_path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def restart(self, origin: Origin | None) -> None:
        """Throw the bytes away; the next ones are part of `origin`."""
        os.ftruncate(self._file, 0)
        self.size_bytes = 0
        self.origin = origin
        if origin is None:
            self._origin_path.unlink(missing_ok=True)
        else:
            self._origin_path.write_text(json.dumps(asdict(origin)))

    def append(self, piece: bytes) -> None:
        """Write behind the last byte."""
        view = memoryview(piece)
        while view:
            written = os.pwrite(self._file, view, self.size_bytes)
            self.size_bytes += written
            view = view[written:]

    def commit(self, path: Path) -> None:
        """Give the file its name, durably."""
        os.fsync(self._file)
        self.path.replace(path)
        self._origin_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove everything."""
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
