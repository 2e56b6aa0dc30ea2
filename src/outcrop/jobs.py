"""Long work: it runs in a thread of its own, tells how far it is, and can be cancelled."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from outcrop.errors import Cancelled, Unavailable
from outcrop.types import Progress

Result = TypeVar("Result")


class Job(Generic[Result]):
    """Work in progress. `wait` returns its result or raises its error."""

    def __init__(self, name: str, work: Callable[[Callable[[Progress], None]], Result]) -> None:
        """Start `work`, which is given a function to report progress to; that function raises Cancelled after
        `cancel`."""
        self.name = name
        self._cancelled = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._progress = Progress("waiting", 0.0, None)
        self._began: tuple[float, float] | None = None  # when, and how far, it first told of progress
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ask it to stop at the next step. `wait` then raises Cancelled; the same call later resumes what was
        finished."""
        self._cancelled.set()

    def wait(self, timeout: float | None = None, progress: bool | Callable[[Progress], object] = False) -> Result:
        """Return the result when there is one.

        timeout: seconds, then Unavailable is raised and the work goes on. progress: True writes a line to a terminal's
        standard error; a function is called with each new `Progress`.
        """
        show = line_writer() if progress is True else progress or None
        shown: Progress | None = None
        left = timeout
        while self._thread.is_alive():
            step = 0.2 if left is None else min(0.2, max(left, 0.0))
            self._thread.join(step)
            if show is not None and self._progress is not shown:
                shown = self._progress
                show(shown)
            if left is not None:
                left -= step
                if left <= 0 and self._thread.is_alive():
                    raise not_finished(self.name, timeout)
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _run(self, work: Callable[[Callable[[Progress], None]], Result]) -> None:
        # Only the thread holds the work, and what belongs to it is given back when it ends, not with the job.
        try:
            self._result = work(self._report)
        except BaseException as error:  # kept for whoever waits
            self._error = error

    def _report(self, progress: Progress) -> None:
        self._progress = progress if progress.seconds_left is not None else self._estimated(progress)
        if self._cancelled.is_set():
            raise Cancelled(f"{self.name}: cancelled at {progress.fraction:.0%}; the same call resumes it")

    def _estimated(self, progress: Progress) -> Progress:
        """Suppose that the rest goes on as fast as what was done since the first report; work that was resumed began
        far from nothing."""
        now = time.monotonic()
        began, first_fraction = self._began = self._began or (now, progress.fraction)
        gained, elapsed = progress.fraction - first_fraction, now - began
        left = elapsed * (1 - progress.fraction) / gained if gained > 0.01 and elapsed > 1 else None
        return Progress(progress.stage, progress.fraction, left)


def not_finished(name: str, timeout: float | None) -> Unavailable:
    """Return the error of waiting that ended before the work did."""
    return Unavailable(f"{name}: not finished after {timeout} seconds; it goes on, wait again")


def line_writer() -> Callable[[Progress], object] | None:
    """Return what writes progress as one line to a terminal's standard error; None where that is no terminal."""
    if not sys.stderr.isatty():
        return None

    def write(progress: Progress) -> None:
        left = "" if progress.seconds_left is None else f", about {progress.seconds_left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{progress.stage}: {progress.fraction:.0%}{left}")
        if progress.fraction >= 1:
            sys.stderr.write("\n")

    return write
