"""Ending a call early: when its time is over, or when nobody waits for its answer any more.

stop = outcrop.Stop(timeout=0.5)
threading.Timer(0.1, stop.set).start()
collection.search(queries, stop=stop)  # raises Cancelled after 0.1 s, DeadlineExceeded after 0.5 s
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np

from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument
from outcrop.types import Int64Array

_NEVER = np.iinfo(np.int64).max
# The longest timeout that is one: 30 years. A longer one is none.
_LONGEST_SECONDS = 1e9
# Who sets a flag wakes nobody, so what waits for something else looks up this often.
_LOOK_UP_SECONDS = 0.002


class Stop:
    """A deadline, and a request to stop that any thread may make. What is told to stop raises between two steps, gives
    back what it holds, and can be called again. One `Stop` may serve several calls, one after the other or at once."""

    __slots__ = ("words",)

    words: Int64Array
    """What the core looks at: int64 [2], whether to stop and the deadline, as core/stop.hpp reads them."""

    def __init__(self, timeout: float | None = None) -> None:
        """timeout: seconds from now; 0 is over at once, None never. Raises InvalidArgument."""
        self.words = np.array([0, _deadline_ns(timeout)], np.int64)

    def set(self) -> None:
        """Ask what works under this to end. Any thread, any number of times."""
        self.words[0] = 1

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return bool(self.words[0])

    @property
    def deadline(self) -> float | None:
        """When the time is over, in seconds of `time.monotonic`; None for no deadline."""
        return None if self.words[1] == _NEVER else float(self.words[1]) / 1e9

    def remaining(self) -> float | None:
        """Return how many seconds are left, at least 0; None for no deadline."""
        if self.words[1] == _NEVER:
            return None
        return max(0.0, (int(self.words[1]) - time.monotonic_ns()) / 1e9)

    def check(self) -> None:
        """Raise Cancelled after `set`, DeadlineExceeded when the time is over."""
        if self.words[0]:
            raise Cancelled("the call was cancelled")
        if self.words[1] != _NEVER and time.monotonic_ns() >= self.words[1]:
            raise DeadlineExceeded("the time allowed for the call is over; allow more, or ask for less")


def stop_of(timeout: float | None, stop: Stop | None) -> Stop | None:
    """Return what a call's two arguments mean, None for neither. Raises InvalidArgument when both are given."""
    if timeout is None:
        return stop
    if stop is not None:
        raise InvalidArgument("timeout and stop exclude each other: Stop(timeout=...) says both")
    return Stop(timeout)


def words_of(stop: Stop | None) -> Int64Array | None:
    """Return what a call of the core takes."""
    return None if stop is None else stop.words


def check(stop: Stop | None) -> None:
    """Raise what `Stop.check` raises; do nothing without one."""
    if stop is not None:
        stop.check()


@contextlib.contextmanager
def held(lock: threading.Lock, stop: Stop | None) -> Iterator[None]:
    """Hold a lock, waiting for it until `stop` says otherwise: then raise what `Stop.check` raises."""
    if stop is None:
        lock.acquire()
    else:
        while not lock.acquire(timeout=_LOOK_UP_SECONDS):
            stop.check()
    try:
        yield
    finally:
        lock.release()


def _deadline_ns(timeout: float | None) -> int:
    if timeout is None:
        return _NEVER
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | np.integer | np.floating) or not timeout >= 0:
        raise InvalidArgument(f"timeout: expected seconds of at least 0, or None, found {timeout!r}")
    return _NEVER if timeout > _LONGEST_SECONDS else time.monotonic_ns() + int(timeout * 1e9)
