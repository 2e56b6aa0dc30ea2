"""How far a build has come, and how long the rest will take."""

import time
from collections.abc import Callable

from outcrop.types import Progress

# What each stage costs in microseconds per vector, measured at 128 dimensions; only the proportions matter.
_COSTS = {
    "scan": 2.0,
    "distribute": 5.0,
    "cluster": 6.0,
    "neighbours": 5.0,
    "copies": 1.0,
    "assign": 9.0,
    "scatter": 5.0,
    "pack": 4.0,
    "scatter rows": 5.0,
    "pack rows": 2.0,
    "calibrate": 25.0,
}
_ONLY_LOSSY = ("scatter rows", "pack rows")
_REPORT_EVERY_SECONDS = 0.1


class Stages:
    """Turns the fractions of single stages into one `Progress`. A resumed build skips what is done at once."""

    def __init__(self, lossy: bool, report: Callable[[Progress], None]) -> None:
        """lossy: whether raw vectors go to a file of their own."""
        self._costs = {name: cost for name, cost in _COSTS.items() if lossy or name not in _ONLY_LOSSY}
        self._total = sum(self._costs.values())
        self._report = report
        self._began = time.monotonic()
        self._first_fraction: float | None = None
        self._last_report = 0.0

    def tick(self, stage: str) -> Callable[[float], None]:
        """Return a function that takes the fraction of `stage` that is done."""
        names = list(self._costs)
        before = sum(self._costs[name] for name in names[: names.index(stage)])

        def take(fraction: float) -> None:
            now = time.monotonic()
            if fraction < 1 and now - self._last_report < _REPORT_EVERY_SECONDS:
                return
            self._last_report = now
            done = (before + self._costs[stage] * fraction) / self._total
            if self._first_fraction is None:
                self._first_fraction = done
            self._report(Progress(stage, done, self._seconds_left(done, now)))

        take(0.0)
        return take

    def _seconds_left(self, done: float, now: float) -> float | None:
        gained = done - (self._first_fraction or 0.0)
        elapsed = now - self._began
        return elapsed * (1 - done) / gained if gained > 0.01 and elapsed > 1 else None
