"""The part of a database that is about graphs, for tasks."""

from collections.abc import Mapping
from typing import Any

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_opened import AsyncFeatureTable, AsyncGraph, AsyncPlan
from outcrop.client.channel import Channel
from outcrop.client.graph_database import num_batches
from outcrop.client.loader import FreshLoader, OnlineLoader
from outcrop.client.plan import check_threads
from outcrop.client.rpcs import features as feature_rpcs
from outcrop.client.rpcs import graphs, plans
from outcrop.errors import InvalidArgument
from outcrop.proto.sampling import to_spec
from outcrop.tasks import AsyncLoader
from outcrop.types import Fanouts, FreshStatistics, OnlineOptions, OnlineStatistics


class AsyncGraphDatabase:
    """See `GraphDatabase`."""

    _channel: AsyncChannel

    async def graph(self, name: str) -> AsyncGraph:
        """See `GraphDatabase.graph`."""
        return AsyncGraph(self._channel, await self._channel.call(graphs.get(name)))

    async def graph_names(self) -> list[str]:
        """See `GraphDatabase.graph_names`."""
        return await self._channel.call(graphs.names())

    async def drop_graph(self, name: str) -> None:
        """See `GraphDatabase.drop_graph`."""
        await self._channel.call(graphs.drop(name))

    async def features(self, name: str) -> AsyncFeatureTable:
        """See `GraphDatabase.features`."""
        return AsyncFeatureTable(self._channel, await self._channel.call(feature_rpcs.get(name)))

    async def feature_names(self) -> list[str]:
        """See `GraphDatabase.feature_names`."""
        return await self._channel.call(feature_rpcs.names())

    async def drop_features(self, name: str) -> None:
        """See `GraphDatabase.drop_features`."""
        await self._channel.call(feature_rpcs.drop(name))

    async def plan(self, name: str) -> AsyncPlan:
        """See `GraphDatabase.plan`."""
        found = await self._channel.call(plans.get(name))
        if found.stale:
            raise InvalidArgument(found.stale)
        return AsyncPlan(self._channel, found)

    async def plan_names(self) -> list[str]:
        """See `GraphDatabase.plan_names`."""
        return await self._channel.call(plans.names())

    async def drop_plan(self, name: str) -> None:
        """See `GraphDatabase.drop_plan`."""
        await self._channel.call(plans.drop(name))

    async def online_loader(
        self,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        options: OnlineOptions,
        batch_size: int = 1024,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        **sampling: Any,
    ) -> AsyncLoader[OnlineStatistics]:
        """See `GraphDatabase.online_loader`."""
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        request, channel = plans.online(made_of, options), Channel(self._channel.endpoint)
        return AsyncLoader(OnlineLoader(channel, request, num_batches(seeds, batches), own_channel=True))

    async def fresh_loader(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        slots: int = 3,
        threads: int = 1,
        **sampling: Any,
    ) -> AsyncLoader[FreshStatistics]:
        """See `GraphDatabase.fresh_loader`."""
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        check_threads(threads)
        request = plans.fresh(name, made_of, epochs, cache_memory, pack_memory, disk, slots)
        channel = Channel(self._channel.endpoint)
        return AsyncLoader(FreshLoader(channel, request, name, num_batches(seeds, batches), epochs, own_channel=True))
