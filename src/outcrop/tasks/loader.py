"""Minibatches of a loader, waited for by one task at a time."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from outcrop.stop import Stop
from outcrop.tasks.calls import Calls
from outcrop.types import Minibatch

Statistics = TypeVar("Statistics")
_Statistics = TypeVar("_Statistics", covariant=True)


class Loader(Protocol[_Statistics]):
    """What planned, online and fresh loaders have in common."""

    @property
    def position(self) -> int: ...  # noqa: D102

    @property
    def left_in_epoch(self) -> int: ...  # noqa: D102

    def __len__(self) -> int: ...

    def next_minibatch(self, *, stop: Stop | None = None) -> Minibatch: ...  # noqa: D102

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102

    def load_state_dict(self, state: dict[str, Any]) -> None: ...  # noqa: D102

    def statistics(self) -> _Statistics: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Kept:
    """A minibatch that came when its task had been cancelled, and where the loader stood before it."""

    minibatch: Minibatch
    position: int
    left_in_epoch: int
    num_minibatches: int


class AsyncLoader(Generic[Statistics]):
    """Minibatches with features; `async for` takes one epoch, or what is left of it. An async context manager.

    A task that is cancelled while it waits loses no minibatch: the next one that is asked for is the same.
    """

    def __init__(self, loader: Loader[Statistics]) -> None:
        """Take over the loader: it is closed with this one."""
        self._loader = loader
        self._calls = Calls("loader", 1)  # waiting takes a thread, and a loader has one caller at a time
        self._kept: _Kept | None = None
        self._waiting: Stop | None = None

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        return self._loader.position if self._kept is None else self._kept.position

    @property
    def left_in_epoch(self) -> int:
        """Minibatches of the epoch under way that are still to come."""
        return self._loader.left_in_epoch if self._kept is None else self._kept.left_in_epoch

    def __len__(self) -> int:
        """Return the number of minibatches in the epoch under way."""
        return len(self._loader) if self._kept is None else self._kept.num_minibatches

    def __aiter__(self) -> "_Epoch":
        """Yield what is left of the epoch under way."""
        return _Epoch(self)

    async def next_minibatch(self) -> Minibatch:
        """Wait for the next minibatch, of this epoch or the next. Raises as the loader's `next_minibatch` does."""
        kept, self._kept = self._kept, None
        if kept is not None:
            return kept.minibatch
        before = (self.position, self.left_in_epoch, len(self))
        return await self._calls.stoppable(self._next, unwanted=lambda come: self._keep(come, *before))

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return self._loader.state_dict() | {"position": self.position}

    async def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises InvalidArgument."""
        await self._calls.run(lambda: self._loader.load_state_dict(state))
        self._kept = None

    async def statistics(self) -> Statistics:
        """Return what was done."""
        return self._loader.statistics()

    async def close(self) -> None:
        """End the loader's threads and give memory and files back; minibatches in use stay valid. Twice is allowed.

        A task that waits for a minibatch gets Cancelled.
        """
        self._kept, waiting = None, self._waiting
        if waiting is not None:
            waiting.set()
        await self._calls.finish(self._loader.close)

    async def __aenter__(self) -> "AsyncLoader[Statistics]":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _next(self, stop: Stop) -> Minibatch:
        self._waiting = stop
        return self._loader.next_minibatch(stop=stop)

    def _keep(self, minibatch: Minibatch, position: int, left_in_epoch: int, num_minibatches: int) -> None:
        self._kept = _Kept(minibatch, position, left_in_epoch, num_minibatches)


class _Epoch:
    """What is left of the epoch that was under way when the first minibatch was asked for."""

    def __init__(self, loader: AsyncLoader[Any]) -> None:
        self._loader = loader
        self._end: int | None = None

    def __aiter__(self) -> "_Epoch":
        return self

    async def __anext__(self) -> Minibatch:
        if self._end is None:
            self._end = self._loader.position + self._loader.left_in_epoch
        if self._loader.position >= self._end:
            raise StopAsyncIteration
        return await self._loader.next_minibatch()
