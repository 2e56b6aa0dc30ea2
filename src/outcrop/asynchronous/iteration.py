"""Iterators whose items are made in a thread."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from outcrop.ann import Scan
from outcrop.stop import Stop
from outcrop.tasks import Calls, give_back, shielded
from outcrop.types import AnyArray

Item = TypeVar("Item")
Made = TypeVar("Made", covariant=True)
Self = TypeVar("Self", bound="AsyncItems[object]")


class Items(Protocol[Made]):
    """A synchronous iterator that holds something."""

    def __iter__(self) -> Iterator[Made]: ...

    def __next__(self) -> Made: ...

    def close(self) -> None: ...  # noqa: D102


class AsyncItems(Generic[Item]):
    """Items of a synchronous iterator, for one task at a time. An async context manager.

    An item that a cancelled task did not wait for is the next one. What the iterator holds is given back at its end, or
    by `close`: use `async with` where it may be left early.
    """

    def __init__(self, calls: Calls, begin: Callable[[Stop], Items[Item]]) -> None:
        """begin: makes the iterator, in a thread, when the first item is asked for; it may heed the `Stop`."""
        self._calls = calls
        self._begin = begin
        self._stop = Stop()
        self._items: Items[Item] | None = None
        self._coming: Future[tuple[Item, ...]] | None = None

    def __aiter__(self: Self) -> Self:
        return self

    async def __anext__(self) -> Item:
        if self._stop.is_set:
            raise StopAsyncIteration
        if self._coming is None:
            self._coming = self._calls.begin(self._next)
        try:
            found = await shielded(self._coming)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._coming = None
            raise
        self._coming = None
        if not found:
            raise StopAsyncIteration
        return found[0]

    async def close(self) -> None:
        """Give back what the iterator holds; nothing comes any more. Closing twice is allowed."""
        self._stop.set()
        coming, self._coming = self._coming, None
        await give_back(lambda: self._close(coming))

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _next(self) -> tuple[Item, ...]:
        """Return the next item, or nothing at the end."""
        if self._items is None:
            self._items = self._begin(self._stop)
        for item in self._items:
            return (item,)
        return ()

    def _close(self, coming: "Future[tuple[Item, ...]] | None") -> None:
        if coming is not None and not coming.cancel():
            coming.exception()  # waits for it
        if self._items is not None:
            self._items.close()


class AsyncScan(AsyncItems[tuple[AnyArray, AnyArray]]):
    """See `Collection.scan`.

    row: of the first vector of the next batch. version, num_rows: what is scanned; None before the first batch.
    """

    def __init__(self, calls: Calls, begin: Callable[[Stop], Scan], start_row: int) -> None:
        """Use `AsyncCollection.scan`."""
        super().__init__(calls, self._begin_scan)
        self._scan: Scan | None = None
        self._begin_one = begin
        self.row = start_row

    @property
    def version(self) -> int | None:
        """Of the collection."""
        return None if self._scan is None else self._scan.version

    @property
    def num_rows(self) -> int | None:
        """Of that version."""
        return None if self._scan is None else self._scan.num_rows

    async def __anext__(self) -> tuple[AnyArray, AnyArray]:
        ids, vectors = await super().__anext__()
        self.row += len(ids)
        return ids, vectors

    def _begin_scan(self, stop: Stop) -> Scan:
        self._scan = self._begin_one(stop)
        return self._scan
