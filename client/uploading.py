"""Large input on its way to a server: each segment is durable before the next begins; resumed where it broke off."""

import hashlib
import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.client.endpoint import Retries
from outcrop.client.retry import Attempts
from outcrop.client.rpcs import uploads
from outcrop.client.script import Call, Pause, Script, Send
from outcrop.errors import NotFound, Unavailable
from outcrop.proto.chunks import Chunk
from outcrop.types import AnyArray, memmap_place, row_ranges
from outcrop.v1 import upload_pb2 as pb

# What a broken stream has to send again at most, and what is held for it. Each segment costs a turn and an fsync.
_SEGMENT_BYTES = 32 << 20
_READ_BYTES = 4 << 20
# A server that is started again needs some seconds, one that is moved some minutes.
PATIENT = Retries(attempts=60, first_seconds=0.1, longest_seconds=5.0)

Batches = Callable[[int], Iterable[AnyArray]]
Told = Callable[[str, int], object]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An array to upload. batches: its rows from a row on, in order. num_rows: None when nobody knows."""

    name: str
    batches: Batches
    num_rows: int | None


def whole(name: str, array: AnyArray) -> Uploaded:
    """Return an array of memory, or a memory map, that is to be uploaded."""

    def batches(first_row: int) -> Iterator[AnyArray]:
        rows = max(1, _READ_BYTES // max(1, array[:1].nbytes))
        if first_row >= len(array):
            yield array[len(array) :]
        for start, stop in row_ranges(len(array) - first_row, rows):
            yield array[first_row + start : first_row + stop]

    return Uploaded(name, batches, len(array))


def once(name: str, batches: Iterable[AnyArray]) -> Uploaded:
    """Return an array whose batches can be had once, from the first on; so only the upload that began goes on."""

    def rest(first_row: int) -> Iterable[AnyArray]:
        assert first_row == 0
        return batches

    return Uploaded(name, rest, None)


def upload(upload_id: str, arrays: Iterable[Uploaded], told: Told) -> Script[None]:
    """Bring arrays to the server; what it has already is not sent again.

    told: given the name of an array and how many of its rows are there by now; it may raise to stop.
    """
    try:
        there: Mapping[str, uploads.Received] = yield Call(uploads.get(upload_id))
    except NotFound:
        there = {}
    for array in arrays:
        held = there.get(array.name)
        row = 0 if held is None else held.size_bytes // held.row_bytes
        if held is not None and held.size_bytes % held.row_bytes:
            # A row that came in part: only its owner knows how to go on, and rows that long are rare. Begin anew.
            yield Call(uploads.delete(upload_id))
            return (yield from upload(upload_id, arrays, told))
        if held is None or row != array.num_rows:
            row = yield from _sent(upload_id, array, row, told)
        told(array.name, row)


def _sent(upload_id: str, array: Uploaded, row: int, told: Told) -> Script[int]:
    """Send the rows of an array from `row` on; return how many rows it has."""
    segment: list[Chunk[pb.UploadRequest]] = []
    held_bytes = 0
    for rows in array.batches(row):
        for chunk in uploads.chunks(upload_id, array.name, rows, row):
            segment.append(chunk)
            held_bytes += len(chunk.data)
            if held_bytes >= _SEGMENT_BYTES:
                yield from _sent_segment(upload_id, array.name, segment)
                told(array.name, row)
                segment, held_bytes = [], 0
        row += len(rows)
    if segment:
        yield from _sent_segment(upload_id, array.name, segment)
    return row


def _sent_segment(upload_id: str, name: str, segment: list[Chunk[pb.UploadRequest]]) -> Script[None]:
    """Send chunks until they are durable."""
    attempts = Attempts(PATIENT, True, None)
    while segment:
        try:
            yield Send(segment, pb.UploadRequest)
            return
        except Unavailable as error:
            yield Pause(attempts.pause_after(error))
        try:
            there: Mapping[str, uploads.Received] = yield Call(uploads.get(upload_id))
        except NotFound:
            there = {}
        size_bytes = there[name].size_bytes if name in there else 0
        segment = [chunk for chunk in segment if uploads.begin_of(chunk) >= size_bytes]


def fresh_id(kind: str, secret: str) -> str:
    """Return the name of an upload or a job that nothing can be told of: `secret` makes it unique."""
    return f"{kind}-{hashlib.sha256(secret.encode()).hexdigest()[:32]}"


def identity(source: Any) -> str | None:
    """Return a text that changes when an array or a file does, or None where nothing tells.

    Of a file this machine's name, its path, size and time of change; of an array in memory a digest of all its bytes.
    """
    array = source if isinstance(source, np.ndarray) else getattr(source, "array", None)
    path = getattr(array, "filename", None) if array is not None else getattr(source, "path", None)
    if path is not None:
        status = Path(path).stat()
        place = memmap_place(array) if isinstance(array, np.memmap) else []
        return json.dumps([socket.gethostname(), str(Path(path).resolve()), status.st_size, status.st_mtime_ns, *place])
    if array is None:
        return None
    if array.dtype.kind == "O":
        return hashlib.sha256("\0".join(map(str, array.reshape(-1).tolist())).encode()).hexdigest()
    digest = hashlib.sha256()
    rows = max(1, _READ_BYTES // max(1, array[:1].nbytes))
    for part in row_ranges(len(array), rows):
        digest.update(np.ascontiguousarray(array[slice(*part)]).view(np.uint8).data)
    return digest.hexdigest()


def common_id(kind: str, what: Iterable[Any]) -> str:
    """Return a name that is the same for the same JSON."""
    return f"{kind}-{hashlib.sha256(json.dumps(list(what), sort_keys=True).encode()).hexdigest()[:32]}"
