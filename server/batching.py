"""Micro-batching: searches that ask alike and arrive while the core is busy become its next call.

    idle:     a search goes straight to the core, nothing waits
    busy:     searches wait; the next call of the core answers all of them, up to `max_queries` queries. It begins when
              the one under way ends, or beside it when the first of them has waited for `max_wait_us`
    crowded:  where three or more were under way a moment ago, the first one waits for others too, no longer than that

On an idle server nothing is slower for it. Under load queries share reads, and Python's cost for a call of the core is
paid once for many searches. The wait matters where the core is quicker than searches can be taken from the network.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from outcrop.errors import DeadlineExceeded
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import Batching
from outcrop.stop import Stop

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Key = TypeVar("Key", bound=Hashable)

# A second call of the core beside the first one: while one computes, the other one's Python runs.
MOST_AT_ONCE = 2
# So many under way at once, within so many seconds, promise company to the next one. Two clients are no crowd: each
# would only wait for the other.
_CROWD = 3
_CROWD_SECONDS = 0.02
# Lanes are kept when they are idle, to know whether they were crowded; not more than these.
_MOST_IDLE_LANES = 64


@dataclass(slots=True, eq=False)
class _Member(Generic[Question, Answer]):
    question: Question
    queries: int
    stop: Stop
    answer: "asyncio.Future[Answer]"


@dataclass(slots=True, eq=False)
class _Group(Generic[Question, Answer]):
    """Members that one call of the core answers. stop: as late as the latest of theirs."""

    members: list[_Member[Question, Answer]]
    stop: Stop


@dataclass(slots=True, eq=False)
class _Lane(Generic[Question, Answer]):
    """All that ask alike. timer: ends the wait for company. crowded_until: by time.monotonic."""

    waiting: deque[_Member[Question, Answer]] = field(default_factory=deque)
    running: list[_Group[Question, Answer]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    crowded_until: float = 0.0

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running

    def note_crowd(self) -> None:
        """After one more has come."""
        if len(self.waiting) + sum(len(group.members) for group in self.running) >= _CROWD:
            self.crowded_until = time.monotonic() + _CROWD_SECONDS


class Batcher(Generic[Key, Question, Answer]):
    """Gathers questions of equal keys. For one event loop."""

    def __init__(
        self,
        answer: Callable[[Key, Sequence[Question], Stop], Sequence[Answer | BaseException]],
        executor: Executor,
        settings: Batching,
        metrics: ServerMetrics,
    ) -> None:
        """answer: called in a thread of `executor` with questions of one key; returns an answer or an error for each of
        them, or raises what holds for all."""
        self._answer, self._executor, self._settings, self._metrics = answer, executor, settings, metrics
        self._lanes: dict[Key, _Lane[Question, Answer]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return all(lane.is_idle for lane in self._lanes.values())

    @property
    def num_lanes(self) -> int:
        """Different keys that are remembered."""
        return len(self._lanes)

    async def ask(self, key: Key, question: Question, queries: int, stop: Stop) -> Answer:
        """Return the answer to one question of so many queries.

        Raises the error that it has caused, DeadlineExceeded when its own time is over. Whoever is cancelled leaves the
        others alone; the core stops when the last of them has gone.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        member: _Member[Question, Answer] = _Member(question, queries, stop, loop.create_future())
        lane.waiting.append(member)
        lane.note_crowd()
        self._start_what_may(key, lane)
        left = stop.remaining()
        timer = None if left is None else loop.call_later(left, _expire, member.answer)
        try:
            return await member.answer
        except BaseException:
            self._leave(key, lane, member)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _start_what_may(self, key: Key, lane: _Lane[Question, Answer]) -> None:
        while lane.waiting and self._may_start(lane):
            self._start(key, lane)
        if lane.waiting and lane.timer is None and len(lane.running) < MOST_AT_ONCE:
            wait = self._settings.max_wait_us * 1e-6
            lane.timer = asyncio.get_running_loop().call_later(wait, self._end_wait, key, lane)

    def _may_start(self, lane: _Lane[Question, Answer]) -> bool:
        """Without a wait."""
        if self._is_full(lane):
            return len(lane.running) < MOST_AT_ONCE
        return not lane.running and time.monotonic() >= lane.crowded_until

    def _is_full(self, lane: _Lane[Question, Answer]) -> bool:
        return sum(member.queries for member in lane.waiting) >= self._settings.max_queries

    def _end_wait(self, key: Key, lane: _Lane[Question, Answer]) -> None:
        lane.timer = None
        if lane.waiting and len(lane.running) < MOST_AT_ONCE:
            self._start(key, lane)

    def _start(self, key: Key, lane: _Lane[Question, Answer]) -> None:
        """Hand the next members, in the order they came, to a thread."""
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        members = [lane.waiting.popleft()]
        queries = members[0].queries
        while lane.waiting and queries + lane.waiting[0].queries <= self._settings.max_queries:
            queries += lane.waiting[0].queries
            members.append(lane.waiting.popleft())
        group = _Group(members, _latest([member.stop for member in members]))
        self._metrics.batch(queries, len(members))
        work = asyncio.get_running_loop().run_in_executor(
            self._executor, self._answer, key, [member.question for member in members], group.stop
        )
        lane.running.append(group)
        work.add_done_callback(lambda done: self._finish(key, lane, group, done))

    def _finish(
        self,
        key: Key,
        lane: _Lane[Question, Answer],
        group: _Group[Question, Answer],
        done: "asyncio.Future[Sequence[Answer | BaseException]]",
    ) -> None:
        lane.running.remove(group)
        self._start_what_may(key, lane)
        self._forget_idle(key, lane)
        failed = done.exception()
        answers = [failed] * len(group.members) if failed is not None else done.result()
        for member, answer in zip(group.members, answers, strict=True):
            if member.answer.done():
                continue
            if isinstance(answer, BaseException):
                member.answer.set_exception(answer)
            else:
                member.answer.set_result(answer)

    def _leave(self, key: Key, lane: _Lane[Question, Answer], member: _Member[Question, Answer]) -> None:
        """Of one who waits no more."""
        if member in lane.waiting:
            lane.waiting.remove(member)
            self._forget_idle(key, lane)
        for group in lane.running:
            if all(each.answer.done() for each in group.members):
                group.stop.set()

    def _forget_idle(self, key: Key, lane: _Lane[Question, Answer]) -> None:
        if lane.is_idle and len(self._lanes) > _MOST_IDLE_LANES and self._lanes.get(key) is lane:
            del self._lanes[key]


def _latest(stops: Sequence[Stop]) -> Stop:
    left = [stop.remaining() for stop in stops]
    known = [seconds for seconds in left if seconds is not None]
    return Stop(max(known)) if len(known) == len(left) else Stop()


def _expire(answer: "asyncio.Future[Answer]") -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceeded("the time allowed for the call is over; allow more, or ask for less"))
