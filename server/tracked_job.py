"""A job as the server knows it. Belongs to the event loop, but for its progress, which the job's thread tells."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from outcrop.proto.methods import Method, method_of
from outcrop.server.identity import Identity
from outcrop.server.job_journal import JobOutcome, JobRequest
from outcrop.server.upload_files import StagedUpload
from outcrop.server.work import Work
from outcrop.types import Progress
from outcrop.v1 import job_pb2 as pb
from outcrop.v1.common_pb2 import ObjectName
from outcrop.v1.common_pb2 import Progress as ProgressMessage

_WAITING = Progress("waiting", 0.0, None)
_STATES = {
    "waiting": pb.JOB_STATE_WAITING,
    "succeeded": pb.JOB_STATE_SUCCEEDED,
    "failed": pb.JOB_STATE_FAILED,
    "cancelled": pb.JOB_STATE_CANCELLED,
}
# Watchers are told of progress at most this often.
_NOTICE_SECONDS = 0.1


class TrackedJob:
    """objects: (kind, name) of what it is about. uploads: the ids of those that it needs. work: while it is at work.
    cancelled: by a caller; a job that stops without goes on when the server is started again. changed: set once, with
    the next change."""

    def __init__(self, request: JobRequest, outcome: JobOutcome, message: Message | None) -> None:
        """message: None when it cannot be read; such a job has failed."""
        self.request, self.outcome = request, outcome
        self.objects = [] if message is None else list(_method_of(message).resources(message))
        self.uploads = [] if message is None else sorted(set(upload_ids(message)))
        self.held: list[StagedUpload] = []  # of those, what is kept for it
        self.readable = message is not None
        self.progress = _WAITING
        self.work: Work | None = None
        self.cancelled = False
        self.changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether it has, well or not."""
        return self.outcome.state != "waiting"

    def begin(self, work: Work) -> None:
        """It is at work from now on."""
        self.work = work
        self.notify()

    def end(self, outcome: JobOutcome) -> None:
        """It is at work no more; with the outcome `waiting` it is to be done again."""
        self.outcome, self.work, self.cancelled = outcome, None, False
        if not self.ended:
            self.progress = _WAITING
        elif outcome.state == "succeeded":
            self.progress = Progress(self.progress.stage, 1.0, 0.0)
        self.notify()

    def notify(self) -> None:
        """Wake whoever watches."""
        self.changed.set()
        self.changed = asyncio.Event()

    def notice(self) -> Callable[[Progress], None]:
        """Return a function for the job's thread to tell its progress to; watchers are woken now and then."""
        loop = asyncio.get_running_loop()
        told = 0.0

        def notice(progress: Progress) -> None:
            nonlocal told
            self.progress = progress
            if time.monotonic() - told > _NOTICE_SECONDS:
                told = time.monotonic()
                loop.call_soon_threadsafe(self.notify)

        return notice

    def seen_by(self, identity: Identity) -> bool:
        """Whether the scope of a caller holds all that the job names; of an unreadable one nobody knows what it was."""
        if not self.readable:
            return not identity.scope
        return all(identity.sees(kind, name) for kind, name in self.objects)

    def to_message(self) -> pb.Job:
        """Return the job as it is now."""
        outcome, progress = self.outcome, self.progress
        message = pb.Job(
            id=self.request.id,
            kind=self.request.kind,
            objects=[ObjectName(kind=kind, name=name) for kind, name in self.objects],
            state=pb.JOB_STATE_RUNNING if self.work else _STATES[outcome.state],
            progress=ProgressMessage(
                stage=progress.stage, fraction=progress.fraction, seconds_left=progress.seconds_left
            ),
        )
        message.created.FromMicroseconds(int(self.request.created_unix * 1e6))
        if outcome.ended_unix is not None:
            message.ended.FromMicroseconds(int(outcome.ended_unix * 1e6))
        if outcome.error_code:
            message.error.code, message.error.message = outcome.error_code, outcome.error_message
            message.error.errno = outcome.error_number
        if outcome.result_type:
            message.result.type, message.result.json = outcome.result_type, outcome.result_json
        return message


def _method_of(message: Message) -> Method:
    kind: Any = type(message)  # of which mypy does not believe that it has a hash
    return method_of(kind)


def upload_ids(message: Message) -> Iterator[str]:
    """Yield the fields `upload_id` of a message, and of those within it, that are set."""
    for field, value in message.ListFields():
        if field.name == "upload_id":
            yield value
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else (value,):
                yield from upload_ids(inner)
