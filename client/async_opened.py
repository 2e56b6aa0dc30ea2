"""Graphs, feature tables and plans that a server holds, for tasks."""

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, TypeVar, cast

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.channel import Channel
from outcrop.client.features import TableFace
from outcrop.client.graph import GraphFace
from outcrop.client.plan import PlanFace, check_current, epochs_of, planned_loader
from outcrop.client.rpcs import features, graphs, plans
from outcrop.client.rpcs.minibatches import MinibatchFeed, Received
from outcrop.errors import InvalidArgument
from outcrop.stop import check, stop_of
from outcrop.tasks import AsyncLoader
from outcrop.types import (
    AnyArray,
    DeviceModel,
    Fanouts,
    FeatureStatistics,
    GraphStatistics,
    LoaderStatistics,
    Minibatch,
    PlanReport,
)

Self = TypeVar("Self", bound="_Opened")


class _Opened:
    """A version of something. An async context manager; may be pickled."""

    _kind = ""

    def __init__(self, channel: AsyncChannel, found: Any) -> None:
        """found: what the server has told of it, with name, id and version."""
        self._channel, self._found = channel, found
        self._closed = False

    @property
    def name(self) -> str:
        """What it is called."""
        name: str = self._found.name
        return name

    @property
    def version(self) -> int:
        """Which version this is."""
        version: int = self._found.version
        return version

    async def close(self) -> None:
        """Use it no more. Twice is allowed."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidArgument(f"{self._kind} {self.name!r}: it is closed; open it again")

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncGraph(GraphFace, _Opened):
    """See `Graph`."""

    _kind = "graph"

    async def sample(
        self,
        seeds: Any,
        fanouts: Fanouts,
        *,
        epoch: int = 0,
        batch: int = 0,
        timeout: float | None = None,
        **sampling: Any,
    ) -> Minibatch:
        """See `Graph.sample`."""
        self._check_open()
        feed = graphs.sample(self._found, seeds, fanouts, epoch, batch, sampling)
        seconds = self._channel.endpoint.timeout if timeout is None else timeout
        check(stop_of(seconds, None))
        [received] = [received async for received in self._channel.stream(feed, seconds)]
        return received.minibatch

    async def statistics(self) -> GraphStatistics:
        """See `Graph.statistics`."""
        self._check_open()
        return await self._channel.call(graphs.statistics(self.name))


class AsyncFeatureTable(TableFace, _Opened):
    """See `FeatureTable`. Any number of tasks may fetch."""

    _kind = "feature table"

    async def fetch(
        self, ids: Any, out: AnyArray | None = None, decode: bool = True, *, timeout: float | None = None
    ) -> AnyArray:
        """See `FeatureTable.fetch`. A task that is cancelled has `out` for itself again."""
        self._check_open()
        check(stop_of(timeout, None))
        wanted = features.RowsWanted(self._found, ids, out, decode)
        if wanted.is_small:
            if wanted.size_bytes:
                wanted.fill(await self._channel.call(features.read(self._found, wanted.ids, not decode), timeout))
            return wanted.out
        for feed in wanted.feeds():
            async for _ in self._channel.stream(feed, timeout):
                raise AssertionError("rows go to their place, not to the caller")
        return wanted.out

    async def statistics(self) -> FeatureStatistics:
        """See `FeatureTable.statistics`."""
        self._check_open()
        return await self._channel.call(features.statistics(self.name))


class AsyncPlan(PlanFace, _Opened):
    """See `Plan`."""

    _kind = "plan"

    async def check_current(self) -> None:
        """See `Plan.check_current`."""
        check_current(self._found, await self._channel.call(plans.get(self.name)))

    def loader(self, *, shard: int = 0, **options: Any) -> AsyncLoader[LoaderStatistics]:
        """See `Plan.loader`."""
        self._check_open()
        # A thread receives: minibatches come in time also while the event loop computes.
        channel = Channel(self._channel.endpoint)
        return AsyncLoader(planned_loader(channel, self._found, shard, own_channel=True, **options))

    def minibatches(self, shard: int = 0) -> "AsyncMinibatches":
        """See `Plan.minibatches`."""
        self._check_open()
        epochs = epochs_of(self._found, shard)
        feed = MinibatchFeed(plans.planned(self._found, shard, features=False), count=epochs[-1] - epochs[0])
        return AsyncMinibatches(cast("AsyncGenerator[Received, None]", self._channel.stream(feed)))

    async def measured_device(self, seconds: float = 2.0) -> DeviceModel:
        """See `Plan.measured_device`."""
        self._check_open()
        return (await self._channel.call(plans.measured(self.name, seconds))).device

    async def explain(self, device: DeviceModel | None = None) -> PlanReport:
        """See `Plan.explain`."""
        self._check_open()
        return await self._channel.call(plans.explain(self.name, device or DeviceModel()))


class AsyncMinibatches:
    """Minibatches as they come, for one task. An async context manager: use it where the end may not be reached."""

    def __init__(self, received: AsyncGenerator[Received, None]) -> None:
        """Use `AsyncPlan.minibatches`."""
        self._received = received

    def __aiter__(self) -> "AsyncMinibatches":
        return self

    async def __anext__(self) -> Minibatch:
        return (await self._received.__anext__()).minibatch

    async def close(self) -> None:
        """End the stream. Twice is allowed."""
        await self._received.aclose()

    async def __aenter__(self) -> "AsyncMinibatches":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
