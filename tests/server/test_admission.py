"""Who works, who waits, and who is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from outcrop.errors import DeadlineExceeded
from outcrop.proto.status import Overloaded
from outcrop.server.admission import BYTES_PER_PLACE, Admission
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import Limits
from outcrop.stop import Stop

NO_TIME_AT_ALL = 0.01


class Work:
    """Calls that end when they are told to. order: in which they began."""

    def __init__(self, **limits: Any) -> None:
        self.metrics = ServerMetrics()
        self.admission = Admission(Limits(**limits), self.metrics)
        self.order: list[str] = []

    async def begin(self, name: str, num_bytes: int = 0, stop: Stop | None = None) -> "asyncio.Task[None]":
        """A call that has come as far as it can for now."""
        task = asyncio.create_task(self._work(name, num_bytes, stop or Stop()))
        await _settled()
        return task

    async def _work(self, name: str, num_bytes: int, stop: Stop) -> None:
        async with self.admission.call(num_bytes, stop):
            self.order.append(name)
            await asyncio.Event().wait()

    def shed(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("outcrop_shed_calls_total", {"reason": reason}) or 0.0


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _settled()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), 10)

    asyncio.run(limited())


def test_calls_wait_in_order_and_one_too_many_is_refused_with_a_hint() -> None:
    async def scenario() -> None:
        work = Work(calls=2, queue=2)
        tasks = [await work.begin(name) for name in "abcd"]
        assert work.order == ["a", "b"]

        with pytest.raises(Overloaded, match="which is limits") as refused:
            await (await work.begin("e"))
        assert refused.value.retry_seconds > 0
        assert work.shed("queue") == 1

        await end(tasks[0])
        assert work.order == ["a", "b", "c"]
        await end(tasks[1])
        assert work.order == ["a", "b", "c", "d"]
        await end(*tasks[2:])

    run(scenario)


def test_places_come_back_whoever_leaves() -> None:
    async def scenario() -> None:
        work = Work(calls=1, queue=3)
        first, gone, last = [await work.begin(name) for name in ("first", "gone", "last")]

        await end(gone)
        await end(first)
        assert work.order == ["first", "last"]
        await end(last)

        again = [await work.begin(name) for name in ("x", "y")]
        await end(again[0])
        assert work.order[-2:] == ["x", "y"]
        await end(again[1])

    run(scenario)


def test_a_place_that_is_given_while_its_client_leaves_goes_to_the_next() -> None:
    async def scenario() -> None:
        work = Work(calls=1, queue=3)
        first, unlucky, last = [await work.begin(name) for name in ("first", "unlucky", "last")]

        first.cancel()
        await asyncio.sleep(0)  # the turn is given, and the waiter has not run since
        unlucky.cancel()
        await _settled()

        assert work.order == ["first", "last"]
        await end(first, unlucky, last)

    run(scenario)


def test_large_requests_take_more_places_and_keep_their_turn() -> None:
    async def scenario() -> None:
        work = Work(calls=4, queue=10)
        small = await work.begin("small")
        large = await work.begin("large", 3 * BYTES_PER_PLACE)
        behind = await work.begin("behind")
        assert work.order == ["small"]

        await end(small)
        assert work.order == ["small", "large"]
        await end(large)
        assert work.order == ["small", "large", "behind"]
        await end(behind)

        whole = await work.begin("whole", 100 * BYTES_PER_PLACE)
        assert work.order[-1] == "whole"
        await end(whole)

    run(scenario)


def test_what_stands_behind_a_large_request_that_leaves_goes_on() -> None:
    async def scenario() -> None:
        work = Work(calls=2, queue=10)
        small = await work.begin("small")
        large = await work.begin("large", BYTES_PER_PLACE)
        behind = await work.begin("behind")

        await end(large)
        assert work.order == ["small", "behind"]
        await end(small, behind)

    run(scenario)


@pytest.mark.parametrize(("more", "is_refused"), [(39, False), (40, False), (41, True)])
def test_bytes_of_requests_are_bounded(more: int, is_refused: bool) -> None:
    async def scenario() -> None:
        work = Work(calls=10, queue_bytes=100)
        first = await work.begin("first", 60)

        second = await work.begin("second", more)
        if is_refused:
            with pytest.raises(Overloaded, match="queue_bytes"):
                await second
        await end(first, second)
        assert work.shed("bytes") == is_refused

        alone = await work.begin("alone", 1000)
        assert work.order[-1] == "alone"
        await end(alone)

    run(scenario)


def test_a_waiting_call_ends_with_its_deadline() -> None:
    async def scenario() -> None:
        work = Work(calls=1, queue=5)
        first = await work.begin("first")
        late = await work.begin("late", stop=Stop(NO_TIME_AT_ALL))

        with pytest.raises(DeadlineExceeded):
            await late
        following = await work.begin("following")
        await end(first)
        assert work.order == ["first", "following"]
        await end(following)

    run(scenario)


def test_a_call_that_cannot_begin_in_time_is_refused_at_once() -> None:
    async def scenario() -> None:
        work = Work(calls=1, queue=5)
        first = await work.begin("first")
        await asyncio.sleep(0.2)
        await end(first)
        slow = await work.begin("slow")

        hurried = await work.begin("hurried", stop=Stop(0.001))
        with pytest.raises(Overloaded, match="would wait"):
            await hurried
        patient = await work.begin("patient", stop=Stop(60))
        await end(slow)
        assert work.order[-1] == "patient"
        await end(patient)

    run(scenario)


@pytest.mark.parametrize("open_already", [0, 1, 2])
def test_streams_are_bounded_and_do_not_wait(open_already: int) -> None:
    async def scenario() -> None:
        admission = Work(streams=2).admission

        async def opened(depth: int) -> None:
            async with admission.stream():
                if depth > 1:
                    await opened(depth - 1)

        if open_already < 2:
            await opened(open_already + 1)
        else:
            with pytest.raises(Overloaded, match="streams"):
                await opened(open_already + 1)
        await opened(2)

    run(scenario)


def test_clients_that_wait_for_jobs_take_no_place_of_a_stream() -> None:
    async def scenario() -> None:
        admission = Work(streams=1, watchers=2).admission

        async with admission.stream("watchers"), admission.stream("watchers"):
            async with admission.stream():
                pass
            with pytest.raises(Overloaded, match="2 watchers are open"):
                async with admission.stream("watchers"):
                    pass

    run(scenario)
