"""What arrives together is answered together; alone, at once."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument, OutcropError
from outcrop.server.batching import MOST_AT_ONCE, Batcher
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import Batching
from outcrop.stop import Stop

LONG_US = 300_000


class Core:
    """Answers a number by itself times ten, one call after the other, each when it is let go. calls: what came."""

    def __init__(self, executor: ThreadPoolExecutor, **settings: int) -> None:
        self.calls: list[list[int]] = []
        self.stops: list[Stop] = []
        self._go = threading.Semaphore(0)
        given = Batching(**{"max_queries": 8, "max_wait_us": LONG_US, **settings})
        self.batcher: Batcher[str, int, int] = Batcher(self._answer, executor, given, ServerMetrics())

    def _answer(self, key: str, questions: Sequence[int], stop: Stop) -> Sequence[int | BaseException]:
        self.calls.append(list(questions))
        self.stops.append(stop)
        while not self._go.acquire(timeout=0.005):
            stop.check()
        if key == "broken":
            raise OutcropError("all of them")
        return [10 * each if each >= 0 else InvalidArgument(f"found {each}") for each in questions]

    def ask(self, question: int, key: str = "key", queries: int = 1, stop: Stop | None = None) -> "asyncio.Task[int]":
        return asyncio.create_task(self.batcher.ask(key, question, queries, stop or Stop()))

    def let_go(self, calls: int = 1) -> None:
        self._go.release(calls)

    async def begun(self, calls: int) -> None:
        while len(self.calls) < calls:
            await asyncio.sleep(0.001)


def run(scenario: Callable[[ThreadPoolExecutor], Awaitable[None]]) -> None:
    async def limited(executor: ThreadPoolExecutor) -> None:
        await asyncio.wait_for(scenario(executor), 20)

    with ThreadPoolExecutor(8) as executor:
        asyncio.run(limited(executor))


def test_a_lone_question_goes_straight_to_the_core() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        task = core.ask(1)
        await core.begun(1)
        core.let_go()

        assert await task == 10
        assert core.calls == [[1]]

    run(scenario)


def test_what_arrives_while_the_core_is_busy_becomes_its_next_call() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        first = core.ask(1)
        await core.begun(1)
        others = [core.ask(number) for number in range(2, 7)]
        await asyncio.sleep(0.01)
        assert len(core.calls) == 1

        core.let_go(2)
        assert await asyncio.gather(first, *others) == [10, 20, 30, 40, 50, 60]
        assert core.calls == [[1], [2, 3, 4, 5, 6]]

    run(scenario)


def test_a_call_takes_max_queries_and_a_second_one_runs_beside_it() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        tasks = [core.ask(0)]
        await core.begun(1)
        tasks += [core.ask(number, queries=3) for number in range(1, 8)]
        await core.begun(MOST_AT_ONCE)
        await asyncio.sleep(0.01)
        assert len(core.calls) == MOST_AT_ONCE
        core.let_go(10)

        assert await asyncio.gather(*tasks) == [10 * number for number in range(8)]
        assert [len(call) for call in core.calls] == [1, 2, 2, 2, 1]

    run(scenario)


def test_company_is_waited_for_no_longer_than_told() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor, max_wait_us=20_000)
        first = core.ask(1)
        await core.begun(1)
        second, third = core.ask(2), core.ask(3)

        await core.begun(2)
        assert core.calls == [[1], [2, 3]]
        core.let_go(2)
        assert await asyncio.gather(first, second, third) == [10, 20, 30]

    run(scenario)


def test_in_a_crowd_the_first_one_waits_for_the_others() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor, max_wait_us=5_000)
        core.let_go(10)
        await asyncio.gather(*(core.ask(number) for number in range(3)))
        before = len(core.calls)

        first = core.ask(7)
        await asyncio.sleep(0.001)
        second = core.ask(8)
        assert await asyncio.gather(first, second) == [70, 80]
        assert core.calls[before:] == [[7, 8]]

    run(scenario)


def test_idle_lanes_are_forgotten() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        core.let_go(1000)
        for number in range(300):
            await core.ask(number, key=str(number))

        assert core.batcher.num_lanes <= 65

    run(scenario)


def test_other_keys_do_not_wait() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        tasks = [core.ask(number, key=str(number)) for number in range(4)]
        await core.begun(4)
        core.let_go(4)

        assert await asyncio.gather(*tasks) == [0, 10, 20, 30]
        assert core.batcher.is_idle

    run(scenario)


def test_an_error_is_told_to_who_caused_it() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        first = core.ask(1)
        await core.begun(1)
        tasks = [core.ask(number) for number in (2, -3, 4)]
        core.let_go(2)

        answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [answers[0], answers[1], answers[3]] == [10, 20, 40]
        assert isinstance(answers[2], InvalidArgument)

        broken = core.ask(5, key="broken")
        core.let_go()
        with pytest.raises(OutcropError, match="all of them"):
            await broken

    run(scenario)


def test_who_leaves_does_not_take_the_others_along() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        first = core.ask(1)
        await core.begun(1)
        tasks = [core.ask(number) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        core.let_go()
        await core.begun(2)
        tasks[1].cancel()
        await asyncio.sleep(0.02)
        core.let_go()

        assert await first == 10
        assert await tasks[2] == 40
        assert core.calls == [[1], [3, 4]]
        assert not core.stops[1].is_set

    run(scenario)


def test_the_core_stops_when_nobody_waits_for_its_answer() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        task = core.ask(1)
        await core.begun(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert core.stops[0].is_set
        following = core.ask(2)
        await core.begun(2)
        core.let_go()
        assert await following == 20

    run(scenario)


def test_a_deadline_is_that_of_its_member_and_the_core_has_the_latest() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        first = core.ask(1)
        await core.begun(1)
        hurried, patient = core.ask(2, stop=Stop(0.05)), core.ask(3, stop=Stop(30))
        core.let_go()
        await first
        await core.begun(2)

        with pytest.raises(DeadlineExceeded):
            await hurried
        remaining = core.stops[1].remaining()
        assert remaining is not None
        assert 20 < remaining <= 30
        core.let_go()
        assert await patient == 30

    run(scenario)


def test_a_deadline_that_passes_while_waiting_costs_the_core_nothing() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor)
        first = core.ask(1)
        await core.begun(1)
        with pytest.raises(DeadlineExceeded):
            await core.ask(2, stop=Stop(0.01))
        core.let_go(2)

        assert await first == 10
        assert await core.ask(3) == 30
        assert core.calls == [[1], [3]]
        assert core.batcher.is_idle

    run(scenario)


def test_many_that_come_and_go_get_their_own_answers() -> None:
    async def scenario(executor: ThreadPoolExecutor) -> None:
        core = Core(executor, max_wait_us=100)
        core.let_go(10_000)
        tasks = [core.ask(number, key=str(number % 3)) for number in range(500)]
        for task in tasks[::7]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        for number, answer in enumerate(answers):
            assert answer == 10 * number or (number % 7 == 0 and isinstance(answer, asyncio.CancelledError | Cancelled))
        assert core.batcher.is_idle

    run(scenario)
