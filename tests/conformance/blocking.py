"""Asynchronous objects as if they blocked, so that one suite can be run against both."""

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

# What is handed through as it is: results, not objects to call.
_PACKAGES = ("outcrop.asynchronous", "outcrop.client", "outcrop.tasks")


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop of the suite")
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def close(self) -> None:
        self.run(self._end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _end_tasks(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


class Blocking:
    """Calls of an asynchronous object, waited for."""

    def __init__(self, thread: LoopThread, target: Any) -> None:
        self._thread, self._target = thread, target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._waited(value) if callable(value) else value

    def __len__(self) -> int:
        return len(self._target)

    def __enter__(self) -> "Blocking":
        self._thread.run(self._target.__aenter__())
        return self

    def __exit__(self, *raised: Any) -> None:
        self._thread.run(self._target.__aexit__(*raised))

    def __iter__(self) -> Iterator[Any]:
        items = self._target.__aiter__()
        while True:
            try:
                yield self._thread.run(_awaited(items.__anext__))
            except StopAsyncIteration:
                return

    def __next__(self) -> Any:
        try:
            return self._thread.run(_awaited(self._target.__anext__))
        except StopAsyncIteration:
            raise StopIteration from None

    def _waited(self, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            found = self._thread.run(_awaited(function, *arguments, **named))
            is_ours = type(found).__module__.startswith(_PACKAGES) and not isinstance(found, Exception)
            return Blocking(self._thread, found) if is_ours and _is_asynchronous(found) else found

        return call


async def _awaited(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call on the loop, since some begin tasks there."""
    found = function(*arguments, **named)
    return await found if inspect.isawaitable(found) and not hasattr(found, "__aenter__") else found


def _is_asynchronous(found: Any) -> bool:
    members = (getattr(type(found), name, None) for name in dir(type(found)))
    return any(inspect.iscoroutinefunction(member) for member in members)
