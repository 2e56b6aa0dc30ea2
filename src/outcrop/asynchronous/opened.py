"""What is opened at one version: graphs, feature tables, plans, for tasks."""

from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np

from outcrop.asynchronous.iteration import AsyncItems
from outcrop.gnn_loader import FeatureTable, Graph, Plan
from outcrop.tasks import AsyncLoader, Calls, give_back
from outcrop.types import (
    AnyArray,
    DeviceModel,
    EdgeType,
    Fanouts,
    FeatureStatistics,
    GraphStatistics,
    LoaderStatistics,
    Minibatch,
    PlanProblems,
    PlanReport,
)

Twin = TypeVar("Twin", bound=Graph | FeatureTable | Plan)
Self = TypeVar("Self", bound="_Opened[Any]")


class _Opened(Generic[Twin]):
    """A version of something, kept until it is closed. An async context manager."""

    def __init__(self, calls: Calls, twin: Twin) -> None:
        """Take over what is open. Use a method of `AsyncDatabase`."""
        self._calls = calls
        self._twin = twin

    @property
    def name(self) -> str:
        """What it is called."""
        return self._twin.name

    @property
    def version(self) -> int:
        """Which version of it this is."""
        return self._twin.version

    async def close(self) -> None:
        """Give the version and its memory back."""
        await give_back(self._twin.close)

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncGraph(_Opened[Graph]):
    """See `Graph`."""

    @property
    def node_types(self) -> dict[str, int]:
        """How many nodes there are of each type."""
        return self._twin.node_types

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self._twin.disk_bytes

    @property
    def edge_types(self) -> list[EdgeType]:
        """All edge types, in the order of their import."""
        return self._twin.edge_types

    def num_nodes(self, node_type: str | None = None) -> int:
        """See `Graph.num_nodes`."""
        return self._twin.num_nodes(node_type)

    def num_edges(self, edge_type: EdgeType | None = None) -> int:
        """See `Graph.num_edges`."""
        return self._twin.num_edges(edge_type)

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
        """See `Graph.sample`. Drawing ends when the task is cancelled."""
        return await self._calls.stoppable(
            lambda stop: self._twin.sample(seeds, fanouts, epoch=epoch, batch=batch, stop=stop, **sampling), timeout
        )

    async def statistics(self) -> GraphStatistics:
        """See `Graph.statistics`."""
        return await self._calls.run(self._twin.statistics)


class AsyncFeatureTable(_Opened[FeatureTable]):
    """See `FeatureTable`. Any number of tasks may fetch."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self._twin.num_rows

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._twin.row_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows that `fetch` returns."""
        return self._twin.dtype

    @property
    def logical_dtype(self) -> str:
        """What the rows mean: "bfloat16" where they come as uint16, else the name of `dtype`."""
        return self._twin.logical_dtype

    @property
    def codec_name(self) -> str:
        """How rows are stored: raw, float32, float16, bfloat16 or int8."""
        return self._twin.codec_name

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self._twin.disk_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row on disk."""
        return self._twin.row_bytes

    async def fetch(
        self, ids: Any, out: AnyArray | None = None, decode: bool = True, *, timeout: float | None = None
    ) -> AnyArray:
        """See `FeatureTable.fetch`. Reads end when the task is cancelled, and `out` is the caller's again."""
        return await self._calls.stoppable(lambda stop: self._twin.fetch(ids, out, decode, stop=stop), timeout)

    async def statistics(self) -> FeatureStatistics:
        """See `FeatureTable.statistics`."""
        return self._twin.statistics()


class AsyncPlan(_Opened[Plan]):
    """See `Plan`."""

    @property
    def num_shards(self) -> int:
        """Sequences of minibatches, one for each trainer."""
        return self._twin.num_shards

    @property
    def num_epochs(self) -> int:
        """Epochs that were sampled; loaders repeat them in turn."""
        return self._twin.num_epochs

    async def check_current(self) -> None:
        """See `Plan.check_current`."""
        await self._calls.run(self._twin.check_current)

    def loader(self, *, shard: int = 0, **options: Any) -> AsyncLoader[LoaderStatistics]:
        """See `Plan.loader`."""
        return AsyncLoader(self._twin.loader(shard=shard, **options))

    def minibatches(self, shard: int = 0) -> AsyncItems[Minibatch]:
        """See `Plan.minibatches`."""
        return AsyncItems(self._calls, lambda _: self._twin.minibatches(shard))

    async def measured_device(self, seconds: float = 2.0) -> DeviceModel:
        """See `Plan.measured_device`."""
        return await self._calls.run(lambda: self._twin.measured_device(seconds))

    async def explain(self, device: DeviceModel | None = None) -> PlanReport:
        """See `Plan.explain`."""
        return self._twin.explain(device)

    async def verify(self, *, memory_bytes: int = 64 << 20) -> PlanProblems:
        """See `Plan.verify`."""
        return await self._calls.run(lambda: self._twin.verify(memory_bytes=memory_bytes))
