"""Long work, waited for by tasks."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from outcrop.jobs import Job, line_writer, not_finished
from outcrop.types import Progress

Result = TypeVar("Result")

# How long a job that has ended may go unnoticed: a part of the time that it took, and at most so much.
_LONGEST_SLEEP_SECONDS = 0.05
_PART_OF_TIME = 0.1


class AsyncJob(Generic[Result]):
    """Work in progress. `wait` returns its result or raises its error; a task that stops waiting leaves it going."""

    def __init__(self, job: Job[Result]) -> None:
        """Use a method of the database that begins one."""
        self._job = job
        self.name = job.name

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._job.progress

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._job.done

    async def cancel(self) -> None:
        """See `Job.cancel`."""
        self._job.cancel()

    async def wait(self, timeout: float | None = None, progress: bool | Callable[[Progress], object] = False) -> Result:
        """See `Job.wait`. A function for progress is called on the event loop."""
        show = line_writer() if progress is True else progress or None
        shown: Progress | None = None
        began = time.monotonic()
        while not self._job.done:
            elapsed = time.monotonic() - began
            if timeout is not None and elapsed >= timeout:
                raise not_finished(self.name, timeout)
            left = _LONGEST_SLEEP_SECONDS if timeout is None else timeout - elapsed
            await asyncio.sleep(min(left, max(0.001, min(_LONGEST_SLEEP_SECONDS, elapsed * _PART_OF_TIME))))
            if show is not None and self._job.progress is not shown:
                shown = self._job.progress
                show(shown)
        return self._job.wait()
