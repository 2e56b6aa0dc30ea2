"""Synchronous calls made in threads, for tasks that may be cancelled while they wait."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from outcrop.errors import InvalidArgument
from outcrop.stop import Stop

Result = TypeVar("Result")


class Closable(Protocol):
    """What is given back when nobody wants it."""

    def close(self) -> None:
        """Give it back."""
        ...


Opened = TypeVar("Opened", bound=Closable)


class Calls:
    """Threads for calls that wait. Any task of any event loop may use them."""

    def __init__(self, name: str, most_threads: int) -> None:
        """name: what is closed, for errors. most_threads: calls at one time; others wait for their turn."""
        self._name = name
        self._pool = ThreadPoolExecutor(most_threads, thread_name_prefix="outcrop async")

    def begin(self, work: Callable[[], Result]) -> "Future[Result]":
        """Call `work` in a thread. Raises InvalidArgument after `finish`."""
        try:
            return self._pool.submit(work)
        except RuntimeError as error:  # the pool has no class of its own for this
            raise InvalidArgument(f"{self._name}: it is closed") from error

    async def run(self, work: Callable[[], Result], unwanted: Callable[[Result], object] | None = None) -> Result:
        """Return what `work` returns. A task that is cancelled leaves at once, and `work` goes on to its end.

        unwanted: is then given the result.
        """
        pooled = self.begin(work)
        try:
            return await shielded(pooled)
        except asyncio.CancelledError:
            if not pooled.cancel() and unwanted is not None:
                pooled.add_done_callback(lambda ended: None if ended.exception() else unwanted(ended.result()))
            raise

    async def open(self, work: Callable[[], Opened]) -> Opened:
        """Return what `work` opens; it is closed again where the task was cancelled meanwhile."""
        return await self.run(work, lambda opened: opened.close())

    async def stoppable(
        self,
        work: Callable[[Stop], Result],
        timeout: float | None = None,
        unwanted: Callable[[Result], object] | None = None,
    ) -> Result:
        """Return what `work` returns, which heeds the `Stop` that it is given.

        timeout: seconds from now, waiting for a thread included. A task that is cancelled leaves when `work` has ended,
        which it soon does: nothing that the caller passed is in use any more. unwanted: is then given the result, where
        there is one.
        """
        stop = Stop(timeout)
        pooled = self.begin(lambda: work(stop))
        try:
            return await shielded(pooled)
        except asyncio.CancelledError:
            if not pooled.cancel():
                stop.set()
                await _ended(pooled)
                if unwanted is not None and pooled.exception() is None:
                    unwanted(pooled.result())
            raise

    async def finish(self, closing: Callable[[], object]) -> None:
        """Wait for the calls under way, end the threads, then call `closing`."""
        await give_back(lambda: self._finish(closing))

    def _finish(self, closing: Callable[[], object]) -> None:
        self._pool.shutdown(wait=True)
        closing()


async def give_back(closing: Callable[[], object]) -> None:
    """Call `closing` in a thread that is always there; to its end, also where the task is cancelled."""
    await asyncio.shield(asyncio.to_thread(closing))


async def shielded(pooled: "Future[Result]") -> Result:
    """Wait for a call, which goes on where the task is cancelled."""
    return await asyncio.shield(asyncio.wrap_future(pooled))


async def _ended(pooled: "Future[Result]") -> None:
    """Wait for a call, however often the task is cancelled meanwhile."""
    ending = asyncio.wrap_future(pooled)
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([ending])
    ending.exception()  # whoever wants it has it; asyncio complains of errors that nobody looks at
