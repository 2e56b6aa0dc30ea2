"""Long work in a server, waited for by tasks: as `RemoteJob`."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.job import JobScript
from outcrop.client.rpcs import jobs
from outcrop.client.script import run_async
from outcrop.errors import Cancelled
from outcrop.jobs import line_writer, not_finished
from outcrop.types import Progress

Result = TypeVar("Result")

_SHOW_SECONDS = 0.1


class AsyncRemoteJob(Generic[Result]):
    """Work in progress. `wait` returns its result or raises its error; a task that stops waiting leaves it going. It
    belongs to the event loop that it was begun on, and in the server it goes on without."""

    def __init__(self, name: str, channel: AsyncChannel, script: JobScript[Result]) -> None:
        """Start to run the script, in a task."""
        self.name = name
        self.id: str | None = None
        self._channel = channel
        self._cancelled = False
        self._progress = Progress("waiting", 0.0, None)
        self._task = asyncio.get_running_loop().create_task(run_async(script(self), channel))
        # asyncio complains of errors that nobody looks at; whoever waits does.
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._task.done()

    async def cancel(self) -> None:
        """See `RemoteJob.cancel`."""
        self._cancelled = True
        if self.id is not None and not self.done:
            await self._channel.call(jobs.cancel(self.id))

    async def wait(self, timeout: float | None = None, progress: bool | Callable[[Progress], object] = False) -> Result:
        """See `Job.wait`. A function for progress is called on the event loop."""
        show = line_writer() if progress is True else progress or None
        shown: Progress | None = None
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.done:
            left = _SHOW_SECONDS if deadline is None else min(_SHOW_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise not_finished(self.name, timeout)
            await asyncio.wait([self._task], timeout=left)
            if show is not None and self._progress is not shown:
                shown = self._progress
                show(shown)
        return self._task.result()

    def report(self, progress: Progress) -> None:
        """See `Control`."""
        self._progress = progress
        if self._cancelled:
            raise Cancelled(f"{self.name}: cancelled at {progress.fraction:.0%}; the same call resumes it")

    def began(self, job_id: str) -> bool:
        """See `Control`."""
        self.id = job_id
        return self._cancelled

    def show(self, progress: Progress) -> None:
        """See `Control`."""
        self._progress = progress


async def waited(job: AsyncRemoteJob[Result], progress: Callable[[Progress], object] | None) -> Result:
    """Return the result of a job; whoever stops waiting cancels it. progress: called with how far it is."""
    try:
        return await job.wait(progress=progress or False)
    except BaseException:
        if not job.done:
            await job.cancel()
        raise
