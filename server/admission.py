"""Which call may work now, which waits, and which is refused at once: so that no load makes the server slow or large.

calls come in --> at work (limits.calls) --> answered
                  waiting, in order (limits.queue, limits.queue_bytes)
                  refused: Overloaded, with a hint when to try again
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from outcrop.errors import DeadlineExceeded
from outcrop.proto.status import Overloaded
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import Limits
from outcrop.stop import Stop

# A request takes one place of limits.calls, and one more for each so many bytes: 16 MiB are 17 small calls.
BYTES_PER_PLACE = 1 << 20
# How much the newest call counts in the mean service time: the last twenty or so decide.
_NEWEST = 0.05
_SHORTEST_HINT_SECONDS, _LONGEST_HINT_SECONDS = 0.05, 5.0
_STREAM_HINT_SECONDS = 1.0
_SHOWN_EVERY_SECONDS = 0.25


@dataclass(slots=True, eq=False)
class _Waiter:
    turn: "asyncio.Future[None]"
    places: int


class Admission:
    """The places of one process. For one event loop."""

    def __init__(self, limits: Limits, metrics: ServerMetrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._free = limits.calls
        self._waiting: deque[_Waiter] = deque()
        self._held_bytes = 0
        self._open = {"streams": 0, "watchers": 0}
        self._service_seconds = 0.0
        self._show_again = 0.0

    @property
    def is_full(self) -> bool:
        """Whether one more call must be refused, whatever it asks."""
        return len(self._waiting) >= self._limits.queue and (bool(self._waiting) or not self._free)

    def refuse(self) -> Overloaded:
        """Return the error of a call for which there is no place."""
        self._metrics.shed("queue")
        return Overloaded(
            f"{self._limits.calls} calls are at work and {len(self._waiting)} wait, which is limits.queue; retry later",
            self._hint_seconds(),
        )

    @contextlib.asynccontextmanager
    async def call(self, num_bytes: int, stop: Stop) -> AsyncIterator[None]:
        """A place for a call whose request has so many bytes, held within the block.

        Raises Overloaded when no place can be had in time, DeadlineExceeded when the time is over while it waits.
        """
        self._check_bytes(num_bytes)
        self._hold(num_bytes)
        try:
            places = min(1 + num_bytes // BYTES_PER_PLACE, self._limits.calls)
            await self._turn(places, stop)
            began = time.perf_counter()
            try:
                yield
            finally:
                self._leave(places, time.perf_counter() - began)
        finally:
            self._hold(-num_bytes)

    @contextlib.asynccontextmanager
    async def stream(self, what: Literal["streams", "watchers"] = "streams") -> AsyncIterator[None]:
        """A place for a stream of data, or for a client that waits for a job and costs next to nothing.

        Neither waits for one: a stream may stay for hours. Raises Overloaded.
        """
        most = getattr(self._limits, what)
        if self._open[what] >= most:
            self._metrics.shed(what)
            raise Overloaded(f"{most} {what} are open, which is limits.{what}; retry later", _STREAM_HINT_SECONDS)
        self._open[what] += 1
        try:
            yield
        finally:
            self._open[what] -= 1

    def _check_bytes(self, num_bytes: int) -> None:
        # What is larger than the whole limit is served alone: limits.message bounds it.
        if self._held_bytes and self._held_bytes + num_bytes > self._limits.queue_bytes:
            self._metrics.shed("bytes")
            raise Overloaded(
                f"requests of {self._held_bytes} bytes are under way, {num_bytes} more would pass "
                f"limits.queue_bytes = {self._limits.queue_bytes}; retry later",
                self._hint_seconds(),
            )

    def _hold(self, num_bytes: int) -> None:
        self._held_bytes += num_bytes
        self._show()

    def _show(self) -> None:
        """Tell what waits, now and then when nothing does: it costs more than the rest of a call's admission."""
        now = time.perf_counter()
        if self._waiting or now >= self._show_again:
            self._show_again = now + _SHOWN_EVERY_SECONDS
            self._metrics.queued(len(self._waiting), self._held_bytes)

    async def _turn(self, places: int, stop: Stop) -> None:
        if not self._waiting and self._free >= places:
            self._free -= places
            return
        self._check_queue(stop)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), places)
        self._waiting.append(waiter)
        self._show()
        left = stop.remaining()
        timer = None if left is None else loop.call_later(left, _expire, waiter.turn)
        try:
            await waiter.turn
        except BaseException:
            self._give_up(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _check_queue(self, stop: Stop) -> None:
        if len(self._waiting) >= self._limits.queue:
            raise self.refuse()
        expected, left = self._expected_seconds(), stop.remaining()
        if left is not None and expected > left:
            self._metrics.shed("deadline")
            raise Overloaded(
                f"the call would wait for about {expected:.3f} s and has {left:.3f} s left; allow more, or retry later",
                self._hint_seconds(),
            )

    def _give_up(self, waiter: _Waiter) -> None:
        """Its time is over or its client has left; it may have been given a place in the same moment."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            self._admit()  # what stood behind a large one
        elif waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
            self._free += waiter.places
            self._admit()

    def _leave(self, places: int, seconds: float) -> None:
        self._service_seconds += _NEWEST * (seconds - self._service_seconds)
        self._free += places
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0].turn.done() or self._free >= self._waiting[0].places):
            waiter = self._waiting.popleft()
            if not waiter.turn.done():
                self._free -= waiter.places
                waiter.turn.set_result(None)
        self._show()

    def _expected_seconds(self) -> float:
        """How long one more call would wait, as long as calls take what they took."""
        return (len(self._waiting) + 1) / self._limits.calls * self._service_seconds

    def _hint_seconds(self) -> float:
        return min(max(self._expected_seconds(), _SHORTEST_HINT_SECONDS), _LONGEST_HINT_SECONDS)


def _expire(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_exception(DeadlineExceeded("the time allowed for the call is over before its turn came; allow more"))
