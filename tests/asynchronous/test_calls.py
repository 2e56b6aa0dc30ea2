"""Calls in threads: what happens to them when the task that waits is cancelled."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from outcrop.asynchronous.iteration import AsyncItems
from outcrop.errors import DeadlineExceeded, InvalidArgument
from outcrop.stop import Stop
from outcrop.tasks import Calls


@pytest.fixture
def calls() -> Iterator[Calls]:
    calls = Calls("these calls", 2)
    yield calls
    asyncio.run(calls.finish(lambda: None))


class Closable:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


async def cancelled_when(started: threading.Event, waiting: "asyncio.Task[object]") -> None:
    """Cancel a task once its call is under way, and see it end as cancelled."""
    assert await asyncio.to_thread(started.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_result_and_an_error_come_back(calls: Calls) -> None:
    def refuse() -> None:
        raise InvalidArgument("no")

    assert asyncio.run(calls.run(lambda: 5)) == 5
    with pytest.raises(InvalidArgument, match="no"):
        asyncio.run(calls.run(refuse))


def test_a_stoppable_call_has_ended_when_its_cancelled_task_leaves(calls: Calls) -> None:
    started, ended = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        started.set()
        while not stop.is_set:
            time.sleep(0.001)
        time.sleep(0.05)  # what a read needs to come back
        ended.set()
        stop.check()

    async def program() -> None:
        await cancelled_when(started, asyncio.ensure_future(calls.stoppable(work)))
        assert ended.is_set()

    asyncio.run(program())


def test_a_task_that_is_cancelled_again_still_waits_for_its_call(calls: Calls) -> None:
    started, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def work(_: Stop) -> None:
        started.set()
        let_go.wait(10)
        ended.set()

    async def program() -> None:
        waiting = asyncio.ensure_future(calls.stoppable(work))
        assert await asyncio.to_thread(started.wait, 10)
        for _ in range(3):
            waiting.cancel()
            await asyncio.sleep(0.01)
            assert not waiting.done()
        let_go.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended.is_set()

    asyncio.run(program())


def test_a_timeout_counts_from_the_call(calls: Calls) -> None:
    async def program() -> None:
        with pytest.raises(DeadlineExceeded):
            await calls.stoppable(lambda stop: stop.check(), timeout=0)

    asyncio.run(program())


def test_a_call_that_never_began_does_not_begin_when_its_task_is_cancelled() -> None:
    calls, started, let_go, began = Calls("one thread", 1), threading.Event(), threading.Event(), threading.Event()

    def occupy() -> None:
        started.set()
        let_go.wait(10)

    async def program() -> None:
        first = asyncio.ensure_future(calls.run(occupy))
        assert await asyncio.to_thread(started.wait, 10)
        for second in (calls.run(began.set), calls.stoppable(lambda _: began.set())):
            waiting = asyncio.ensure_future(second)
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        let_go.set()
        await first
        await calls.finish(lambda: None)

    asyncio.run(program())

    assert not began.is_set()


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_opened_for_a_cancelled_task_is_closed_again(calls: Calls, fails: bool) -> None:
    started, let_go, opened = threading.Event(), threading.Event(), Closable()

    def work() -> Closable:
        started.set()
        let_go.wait(10)
        if fails:
            raise InvalidArgument("cannot be opened")
        return opened

    async def program() -> None:
        await cancelled_when(started, asyncio.ensure_future(calls.open(work)))
        let_go.set()

    asyncio.run(program())

    assert opened.closed.wait(0.1 if fails else 10) is not fails


def test_what_is_opened_in_time_stays_open(calls: Calls) -> None:
    opened = asyncio.run(calls.open(Closable))

    assert not opened.closed.is_set()


def test_after_the_end_calls_are_refused_and_the_threads_are_gone() -> None:
    calls, closed = Calls("these calls", 2), threading.Event()

    async def program() -> None:
        await calls.run(lambda: None)
        await calls.finish(closed.set)
        await calls.finish(closed.set)
        with pytest.raises(InvalidArgument, match="these calls: it is closed"):
            await calls.run(lambda: None)

    asyncio.run(program())

    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("outcrop async")]


def numbers(most: int, before: Callable[[int], object] = lambda _: None) -> Iterator[int]:
    for number in range(most):
        before(number)
        yield number


def items(calls: Calls, made: Iterator[int]) -> AsyncItems[int]:
    return AsyncItems(calls, lambda _: made)  # type: ignore[arg-type,return-value]


def test_an_item_that_a_cancelled_task_did_not_wait_for_comes_next(calls: Calls) -> None:
    reached, let_go = threading.Event(), threading.Event()

    def before(number: int) -> None:
        if number == 2:
            reached.set()
            let_go.wait(10)

    async def program() -> list[int]:
        coming = items(calls, numbers(5, before))
        got: list[int] = []

        async def collect() -> None:
            async for number in coming:
                got.append(number)

        await cancelled_when(reached, asyncio.ensure_future(collect()))
        let_go.set()
        await collect()
        return got

    assert asyncio.run(program()) == [0, 1, 2, 3, 4]


def test_an_error_of_an_iterator_comes_where_its_item_would(calls: Calls) -> None:
    def before(number: int) -> None:
        if number == 1:
            raise InvalidArgument("the second is bad")

    async def program() -> None:
        coming = items(calls, numbers(5, before))
        assert await coming.__anext__() == 0
        with pytest.raises(InvalidArgument, match="the second"):
            await coming.__anext__()
        with pytest.raises(StopAsyncIteration):
            await coming.__anext__()

    asyncio.run(program())


def test_an_iterator_that_is_left_early_is_closed(calls: Calls) -> None:
    made = numbers(5)

    async def program() -> None:
        async with items(calls, made) as coming:
            async for number in coming:
                assert number == 0
                break
        with pytest.raises(StopAsyncIteration):
            await coming.__anext__()

    asyncio.run(program())

    assert next(made, None) is None
