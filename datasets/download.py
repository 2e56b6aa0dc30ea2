"""Downloads that survive drops and stops, and whose bytes are checked.

While one runs there are `NAME.part` (the bytes so far) and `NAME.part.json` (what they are part of); at the end `NAME`
and `NAME.source.json` (where it came from, and its SHA-256). One stopped at any moment goes on from `NAME.part`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from outcrop.datasets.atomic_file import atomic_path
from outcrop.datasets.partial_file import Origin, PartialFile
from outcrop.datasets.raw_file import translate
from outcrop.datasets.vectors import Progress
from outcrop.errors import CorruptFile, InvalidArgument, NotFound, StorageFailure, Unavailable

PIECE_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
CHECKSUMS = ("sha256", "md5")


@dataclass(frozen=True, slots=True)
class Download:
    """A finished download.

    sha256: of the file as it lies there. verified: whether a published checksum vouches for it. Where none is
    published, the one seen at the first download is recorded beside the file, so that only later changes are noticed.
    """

    path: Path
    url: str
    size_bytes: int
    sha256: str
    verified: bool


def fetch(
    url: str,
    path: str | os.PathLike[str],
    checksum: str | None = None,
    size_bytes: int | None = None,
    prefix_bytes: int | None = None,
    finish: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
) -> Download:
    """Download `url` to `path`, from where an earlier call stopped; if it is there already, only check it.

    checksum: "sha256:..." or "md5:..." of the finished file, where its publisher gives one. size_bytes: likewise.
    prefix_bytes: take no more than that many bytes from the beginning.
    finish: called with the complete file before it is checked and named; it must bear being called again.
    progress: bytes done, bytes of all if known.
    Drops are retried until ATTEMPTS in a row brought nothing. Raises CorruptFile when the checksum or the size is wrong
    (a download is then thrown away), NotFound, Unavailable (call again to go on), StorageFailure, InvalidArgument.
    """
    path = Path(path)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InvalidArgument(f"{url}: expected http or https")
    if checksum is not None and checksum.partition(":")[0] not in CHECKSUMS:
        raise InvalidArgument(f"checksum {checksum!r}: expected sha256:... or md5:...")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return _check_present(url, path, checksum)
        with PartialFile(path, url) as part:
            _download(url, part, prefix_bytes, progress)
            try:
                done = _check_complete(part, path, url, checksum, size_bytes, finish)
            except CorruptFile:
                part.discard()
                raise
            _record(done)
            part.commit(path)
            return done
    except (StorageFailure, Unavailable):
        raise
    except OSError as error:
        raise translate(error, path) from error


def file_checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _check_present(url: str, path: Path, checksum: str | None) -> Download:
    sidecar = _sidecar(path)
    recorded = f"sha256:{json.loads(sidecar.read_text())['sha256']}" if sidecar.exists() else None
    for expected in filter(None, (checksum, recorded)):
        _require(path, path, expected, "remove it to download it again")
    done = Download(path, url, path.stat().st_size, file_checksum(path), checksum is not None)
    if recorded is None:
        _record(done)
    return done


def _check_complete(
    part: PartialFile,
    path: Path,
    url: str,
    checksum: str | None,
    size_bytes: int | None,
    finish: Callable[[Path], None] | None,
) -> Download:
    if size_bytes is not None and part.size_bytes != size_bytes:
        raise CorruptFile(f"{url}: expected {size_bytes} bytes, found {part.size_bytes}")
    if finish is not None:
        finish(part.path)
    if checksum is not None:
        _require(part.path, path, checksum, f"downloaded from {url}")
    return Download(path, url, part.size_bytes, file_checksum(part.path), checksum is not None)


def _require(path: Path, name: Path, expected: str, context: str) -> None:
    algorithm, _, digest = expected.partition(":")
    found = file_checksum(path, algorithm)
    if found != digest.lower():
        raise CorruptFile(f"{name}: {algorithm} {found}, expected {digest}: {context}")


def _record(done: Download) -> None:
    with atomic_path(_sidecar(done.path)) as temporary:
        temporary.write_text(json.dumps({**asdict(done), "path": done.path.name}, indent=1) + "\n")


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".source.json")


def _download(url: str, part: PartialFile, prefix_bytes: int | None, progress: Progress | None) -> None:
    """Fill `part` to its end, however often the connection drops."""
    failures = 0
    while not _is_complete(part, prefix_bytes):
        before = part.size_bytes
        try:
            _continue(url, part, prefix_bytes, progress)
            return
        except Unavailable as error:
            failures = 1 if part.size_bytes > before else failures + 1
            if failures >= ATTEMPTS:
                raise Unavailable(f"{error}; {part.size_bytes} bytes are kept, call again to go on") from error
        time.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def _is_complete(part: PartialFile, prefix_bytes: int | None) -> bool:
    wanted = _wanted_bytes(part.origin, prefix_bytes)
    return wanted is not None and part.size_bytes == wanted


def _wanted_bytes(origin: Origin | None, prefix_bytes: int | None) -> int | None:
    known = [n for n in (origin.total if origin else None, prefix_bytes) if n is not None]
    return min(known) if known else None


def _continue(url: str, part: PartialFile, prefix_bytes: int | None, progress: Progress | None) -> None:
    """Ask for what is missing and append it. Unavailable when the body ends before what was promised."""
    with _ask(url, part, prefix_bytes) as response:
        _place(url, response, part)
        wanted = _wanted_bytes(part.origin, prefix_bytes)
        for piece in _pieces(url, response, None if wanted is None else wanted - part.size_bytes):
            part.append(piece)
            if progress is not None:
                progress(part.size_bytes, wanted)
    if wanted is not None and part.size_bytes < wanted:
        raise Unavailable(f"{url}: the connection ended at byte {part.size_bytes} of {wanted}")


def _ask(url: str, part: PartialFile, prefix_bytes: int | None) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "outcrop"}
    if part.size_bytes or prefix_bytes is not None:
        headers["Range"] = f"bytes={part.size_bytes}-{'' if prefix_bytes is None else prefix_bytes - 1}"
    if part.size_bytes and part.origin is not None and part.origin.validator is not None:
        headers["If-Range"] = part.origin.validator
    request = urllib.request.Request(url, headers=headers)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.restart(None)
        if error.code in (http.client.FORBIDDEN, http.client.NOT_FOUND, http.client.GONE):
            raise NotFound(f"{url}: the server answers {error.code} {error.reason}") from error
        raise Unavailable(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{url}: {error}") from error
    return response


def _place(url: str, response: http.client.HTTPResponse, part: PartialFile) -> None:
    """See to it that the body goes behind the bytes in `part`: they stay only if it continues them."""
    headers = response.headers
    if response.status != http.client.PARTIAL_CONTENT:
        part.restart(Origin(url, headers["ETag"], headers["Last-Modified"], _number(headers["Content-Length"])))
        return
    start, total = _content_range(headers["Content-Range"])
    origin = Origin(url, headers["ETag"], headers["Last-Modified"], total)
    if start == 0 and part.size_bytes == 0:
        part.restart(origin)
    elif start != part.size_bytes or origin != part.origin:
        part.restart(None)
        raise Unavailable(f"{url}: the content changed during the download")


def _content_range(header: str | None) -> tuple[int | None, int | None]:
    """Return the first byte and the total of `bytes 5-9/10`, None for what it does not tell."""
    span, _, total = (header or "").removeprefix("bytes ").partition("/")
    return _number(span.partition("-")[0]), _number(total)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() else None


def _pieces(url: str, response: http.client.HTTPResponse, limit: int | None) -> Iterator[bytes]:
    """Yield the body, at most `limit` bytes of it."""
    left = limit
    while left is None or left > 0:
        try:
            piece = response.read1(PIECE_BYTES if left is None else min(PIECE_BYTES, left))
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{url}: {error!r}") from error
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)
