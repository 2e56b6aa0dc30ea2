"""Whether a call that failed is made again, and when."""

import random
import time

from outcrop.client.endpoint import Retries
from outcrop.errors import DeadlineExceeded, OutcropError, Unavailable
from outcrop.proto.status import Overloaded


class Attempts:
    """The attempts of one call: its deadline, and how often it has failed."""

    def __init__(self, retries: Retries, repeatable: bool, timeout: float | None) -> None:
        """repeatable: whether the call may reach the server twice. timeout: seconds for all attempts together."""
        self._retries = retries
        self._repeatable = repeatable
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failures = 0

    def remaining(self) -> float | None:
        """Return how many seconds are left, at least 0; None for no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def succeeded(self) -> None:
        """Begin to count anew: something has arrived."""
        self._failures = 0

    def pause_after(self, error: OutcropError) -> float:
        """Return how many seconds to wait before the next attempt; raise the error where there is none.

        Only what is overloaded or cannot be reached is asked again, and nobody waits beyond the deadline.
        """
        self._failures += 1
        passing = isinstance(error, Unavailable) and not isinstance(error, DeadlineExceeded)
        if not (self._repeatable and passing and self._failures < self._retries.attempts):
            raise error from None
        pause = self._pause(error)
        remaining = self.remaining()
        if remaining is not None and pause >= remaining:
            raise error from None
        return pause

    def _pause(self, error: OutcropError) -> float:
        """Callers that failed together shall not come back together: each waits another while."""
        doubled = min(self._retries.longest_seconds, self._retries.first_seconds * 2.0 ** (self._failures - 1))
        if isinstance(error, Overloaded):
            return max(error.retry_seconds, doubled) * random.uniform(1.0, 1.5)
        return doubled * random.uniform(0.5, 1.0)
