"""Jobs of the server: finding, watching, cancelling them, and what has become of them."""

from dataclasses import dataclass, is_dataclass
from typing import Any

from outcrop import types
from outcrop.client.rpc import Feed, Rpc
from outcrop.errors import Cancelled, OutcropError, Unavailable
from outcrop.proto.documents import from_document
from outcrop.proto.status import error_of
from outcrop.types import Progress
from outcrop.v1 import job_pb2 as pb

SUCCEEDED, FAILED, CANCELLED = pb.JOB_STATE_SUCCEEDED, pb.JOB_STATE_FAILED, pb.JOB_STATE_CANCELLED


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job of the server. kind: build, import_graph, and so on. objects: (kind, name) of what it is about. state:
    waiting, running, succeeded, failed or cancelled. ended_unix: None while it goes on. error: of one that failed."""

    id: str
    kind: str
    objects: tuple[tuple[str, str], ...]
    state: str
    progress: Progress
    created_unix: float
    ended_unix: float | None
    error: str | None


def get(job_id: str) -> Rpc[pb.Job]:
    """Find a job by its id."""
    return Rpc(pb.GetJobRequest(job_id=job_id), lambda response: response.job)


def listed(ended: bool) -> Rpc[list[JobRecord]]:
    """List the jobs that the key may see, newest first. ended: also those."""
    return Rpc(pb.ListJobsRequest(ended=ended), lambda response: [record_of(job) for job in response.jobs])


def cancel(job_id: str) -> Rpc[pb.Job]:
    """Ask a job to stop."""
    return Rpc(pb.CancelJobRequest(job_id=job_id), lambda response: response.job)


def resume(job_id: str) -> Rpc[pb.Job]:
    """Start a job again that was cancelled or has failed."""
    return Rpc(pb.ResumeJobRequest(job_id=job_id), lambda response: response.job)


class Watch(Feed[pb.Job]):
    """A job whenever it has changed, until it has ended."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether the job has ended."""
        return self._ended

    def request(self) -> pb.WatchJobRequest:
        """Return what asks for the job now, and its changes."""
        return pb.WatchJobRequest(job_id=self._job_id)

    def read(self, response: pb.WatchJobResponse) -> pb.Job:
        """Return the job."""
        self._ended = has_ended(response.job)
        return response.job

    def end(self) -> None:
        """Raise unless the job has ended."""
        if not self._ended:
            raise Unavailable(f"job {self._job_id}: the server ended the stream before the job")


def has_ended(job: pb.Job) -> bool:
    """Whether it has, well or not."""
    return job.state in (SUCCEEDED, FAILED, CANCELLED)


def progress_of(job: pb.Job) -> Progress:
    """Return how far a job has come."""
    told = job.progress
    return Progress(told.stage, told.fraction, told.seconds_left if told.HasField("seconds_left") else None)


def result_of(job: pb.Job) -> Any:
    """Return the result of a job that has ended, a class of outcrop.types, or raise its error."""
    if job.state == FAILED:
        raise error_of(job.error.code, job.error.message, job.error.errno)
    if job.state == CANCELLED:
        raise Cancelled(job.error.message or f"job {job.id}: cancelled; the same call resumes it")
    if not job.result.type:
        return None
    kind = getattr(types, job.result.type, None)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise OutcropError(f"job {job.id}: expected a result of a class that this release knows: {job.result.type}")
    return from_document(job.result, kind)


def record_of(job: pb.Job) -> JobRecord:
    """Return what a message says of a job."""
    return JobRecord(
        job.id,
        job.kind,
        tuple((named.kind, named.name) for named in job.objects),
        pb.JobState.Name(job.state).removeprefix("JOB_STATE_").lower(),
        progress_of(job),
        job.created.ToNanoseconds() / 1e9,
        job.ended.ToNanoseconds() / 1e9 if job.HasField("ended") else None,
        job.error.message if job.HasField("error") else None,
    )
