"""What is kept of each job, so that it outlives the process. The page is docs/formats/service.md."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outcrop.errors import CorruptFile, StorageFailure, UnsupportedFormat
from outcrop.store import os_calls
from outcrop.store.format.record import pack_record, unpack_record
from outcrop.types import check_name

FORMAT = 1
STATES = ("waiting", "succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What was asked, which never changes, but for the message of the RPC. owner: whose key it was. number: jobs are
    begun in its order. message_sha256: hexadecimal."""

    id: str
    kind: str
    owner: str
    number: int
    created_unix: float
    message_sha256: str


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of it. state: one of `STATES`; waiting also stands for a job at work. error_code: of its class.
    result_json: of a document of type `result_type`."""

    state: str = "waiting"
    ended_unix: float | None = None
    error_code: str = ""
    error_message: str = ""
    error_number: int = 0
    result_type: str = ""
    result_json: str = ""


class JobJournal:
    """The folder of jobs: one folder each. What a method has done is durable when it returns. All raise StorageFailure.
    `load` comes first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, request: JobRequest, message: bytes) -> None:
        """Keep a new job. message: the request of the RPC, serialized."""
        assert request.message_sha256 == digest(message)
        check_name("job_id", request.id, longest=64)
        begun = self._folder / f".new.{request.id}"
        os_calls.remove_tree(begun)
        os_calls.make_folder(begun)
        os_calls.write_small(begun / "request", pack_record({"format": FORMAT} | asdict(request)) + message, mode=0o600)
        os_calls.sync_folder(begun)
        os_calls.rename(begun, self._folder / request.id)
        os_calls.sync_folder(self._folder)

    def set_outcome(self, job_id: str, outcome: JobOutcome) -> None:
        """Keep what came of a job."""
        folder = self._folder / job_id
        os_calls.write_small(folder / "outcome", pack_record({"format": FORMAT} | asdict(outcome)), mode=0o600)
        os_calls.sync_folder(folder)

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        ended = self._folder / f".old.{job_id}"
        os_calls.rename(self._folder / job_id, ended)
        os_calls.sync_folder(self._folder)
        os_calls.remove_tree(ended)

    def message(self, job_id: str) -> bytes:
        """Return what was asked. Raises CorruptFile as well."""
        return _read_request(self._folder / job_id)[1]

    def load(self) -> Iterator[tuple[JobRequest, bytes, JobOutcome]]:
        """Yield all jobs, what they were asked, and what came of them; make the folder where it is missing.

        What a process left that died while it added or removed one is removed. One whose files are damaged has failed,
        and is of no kind: what it was about is not known.
        """
        os_calls.make_folder(self._folder)
        os_calls.sync_folder(self._folder.parent)
        for leftover in self._folder.glob(".*"):  # no job is called so
            os_calls.remove_tree(leftover)
        for folder in sorted(self._folder.iterdir()):
            try:
                yield *_read_request(folder), _read_outcome(folder)
            except (CorruptFile, UnsupportedFormat) as error:
                ended = folder.stat().st_mtime
                request = JobRequest(folder.name, "", "", 0, ended, "")
                yield request, b"", JobOutcome("failed", ended, error.code, str(error))


def digest(message: bytes) -> str:
    """Return what tells one message from another."""
    return hashlib.sha256(message).hexdigest()


def _read_request(folder: Path) -> tuple[JobRequest, bytes]:
    path = folder / "request"
    line, _, message = _read(path).partition(b"\n")
    fields = _fields(unpack_record(line + b"\n", str(path)), path)
    try:
        request = JobRequest(**fields)
    except TypeError as error:
        raise CorruptFile(f"{path}: {error}") from error
    if request.id != folder.name:
        raise CorruptFile(f"{path}: expected job {folder.name}, found {request.id}")
    if request.message_sha256 != digest(message):
        raise CorruptFile(f"{path}: SHA-256 {digest(message)} of the message, expected {request.message_sha256}")
    return request, message


def _read_outcome(folder: Path) -> JobOutcome:
    path = folder / "outcome"
    if not path.exists():
        return JobOutcome()
    fields = _fields(unpack_record(_read(path), str(path)), path)
    try:
        outcome = JobOutcome(**fields)
    except TypeError as error:
        raise CorruptFile(f"{path}: {error}") from error
    if outcome.state not in STATES:
        raise CorruptFile(f"{path}: expected one of {', '.join(STATES)}, found {outcome.state!r}")
    return outcome


def _fields(record: dict[str, Any], path: Path) -> dict[str, Any]:
    if record.pop("format", None) != FORMAT:
        raise UnsupportedFormat(f"{path}: this release reads format {FORMAT}; upgrade outcrop")
    return record


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorruptFile(f"{path}: expected a file, found none") from error
    except OSError as error:
        raise StorageFailure(error.errno, f"read: {os.strerror(error.errno or 0)}", str(path)) from error
