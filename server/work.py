"""What the function of a job is given beside its request; it belongs to the job's thread."""

import threading
from collections.abc import Callable
from typing import TypeVar

from outcrop.errors import Cancelled, ResourceExhausted
from outcrop.jobs import Job
from outcrop.server.settings import Jobs as JobSettings
from outcrop.server.uploads import Upload, Uploads
from outcrop.types import Progress

Result = TypeVar("Result")

_LOOK_UP_SECONDS = 0.02


class Work:
    """One run of a job. owner: whose key asked for it."""

    def __init__(self, owner: str, uploads: Uploads, settings: JobSettings, notice: Callable[[Progress], None]) -> None:
        """notice: told of progress, in the job's thread."""
        self.owner = owner
        self._uploads, self._settings, self._notice = uploads, settings, notice
        self._asked = threading.Event()

    def report(self, progress: Progress) -> None:
        """Tell how far it is. Raises Cancelled when the job is to stop."""
        self._notice(progress)
        self.check()

    def check(self) -> None:
        """Raise Cancelled when the job is to stop."""
        if self._asked.is_set():
            raise Cancelled("the job was cancelled; what it had finished is kept for when it is resumed")

    def follow(self, job: Job[Result]) -> Result:
        """Return the result of the engine's job, or raise its error; progress and cancelling are passed on."""
        shown: Progress | None = None
        while not job.done:
            if self._asked.wait(_LOOK_UP_SECONDS):
                job.cancel()
                break
            if job.progress is not shown:
                shown = job.progress
                self._notice(shown)
        return job.wait()

    def upload(self, upload_id: str) -> Upload:
        """Return what the owner of the job has uploaded. Raises NotFound."""
        return self._uploads.get(upload_id, self.owner)

    def memory_bytes(self, asked: int) -> int:
        """Return the budget of a job that asks for so many bytes; 0: what the settings say. Raises
        ResourceExhausted."""
        return budget(self._settings, asked)

    def stop(self) -> None:
        """Ask the work to stop; any thread."""
        self._asked.set()


def budget(settings: JobSettings, asked: int) -> int:
    """See `Work.memory_bytes`."""
    if asked > settings.most_memory:
        raise ResourceExhausted(f"memory: expected at most {settings.most_memory} bytes for a job, found {asked}")
    return asked or settings.memory
