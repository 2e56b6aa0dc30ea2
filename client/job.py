"""Long work in a server, and the upload before it, with the interface of `outcrop.jobs.Job`."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from outcrop.client.channel import Channel
from outcrop.client.rpc import Rpc
from outcrop.client.rpcs import jobs
from outcrop.client.script import Call, Follow, Script, run
from outcrop.client.uploading import PATIENT
from outcrop.jobs import Job
from outcrop.types import Progress

Result = TypeVar("Result")

# How much of a job its upload is; nobody knows before.
UPLOAD_SHARE = 0.3


class Control(Protocol):
    """What the script of a job tells whoever waits for it."""

    def report(self, progress: Progress) -> None:
        """Tell how far it is, before the server has a job. Raises Cancelled when it is to stop."""
        ...

    def began(self, job_id: str) -> bool:
        """The server has the job now. Return whether it is to be cancelled."""
        ...

    def show(self, progress: Progress) -> None:
        """Tell how far the server is."""
        ...


JobScript = Callable[[Control], Script[Result]]


class RemoteJob(Job[Result]):
    """Work in progress in a server. When its connection breaks it is looked for again; when this process ends, the
    server goes on. `id`: the server's name of it, None while the input is still on its way."""

    def __init__(self, name: str, channel: Channel, script: JobScript[Result]) -> None:
        """Start to run the script, in a thread."""
        self.id: str | None = None
        self._channel = channel
        super().__init__(name, lambda _: run(script(self), channel))

    def cancel(self) -> None:
        """Ask it to stop at the next step. `wait` then raises Cancelled; the same call later resumes what was
        finished. Raises Unavailable when the server cannot be reached."""
        super().cancel()
        if self.id is not None and not self.done:
            self._channel.call(jobs.cancel(self.id))

    def report(self, progress: Progress) -> None:
        """See `Control`."""
        self._report(progress)

    def began(self, job_id: str) -> bool:
        """See `Control`."""
        self.id = job_id
        return self._cancelled.is_set()

    def show(self, progress: Progress) -> None:
        """See `Control`."""
        self._progress = progress


def begun(rpc: Rpc[Any], control: Control) -> Script[Any]:
    """Begin a job that needs no upload, and wait for it."""
    job = yield Call(rpc)
    return (yield from followed(job.id, control))


def waited(job: RemoteJob[Result], progress: Callable[[Progress], object] | None) -> Result:
    """Return the result of a job; whoever stops waiting cancels it. progress: called with how far it is."""
    try:
        return job.wait(progress=progress or False)
    except BaseException:
        if not job.done:
            job.cancel()
        raise


def followed(job_id: str, control: Control, done_before: float = 0.0) -> Script[Any]:
    """Wait for a job of the server and return its result. done_before: the part of the work that came before it."""
    if control.began(job_id):
        yield Call(jobs.cancel(job_id))

    def show(job: Any) -> None:
        told = jobs.progress_of(job)
        control.show(Progress(told.stage, done_before + (1 - done_before) * told.fraction, told.seconds_left))

    return jobs.result_of((yield Follow(jobs.Watch(job_id), show, PATIENT)))
