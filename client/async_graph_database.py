"""The part of a database that is about graphs, for tasks."""

from collections.abc import Mapping
from typing import Any

from outcrop.client import importing
from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_job import AsyncRemoteJob
from outcrop.client.async_opened import AsyncFeatureTable, AsyncGraph, AsyncPlan
from outcrop.client.channel import Channel
from outcrop.client.graph_database import IMPORT_MEMORY, check_shards, num_batches
from outcrop.client.loader import FreshLoader, OnlineLoader
from outcrop.client.plan import check_threads
from outcrop.client.rpcs import features as feature_rpcs
from outcrop.client.rpcs import graphs, plans
from outcrop.client.script import run_async
from outcrop.errors import InvalidArgument
from outcrop.proto.sampling import to_spec
from outcrop.tasks import AsyncLoader
from outcrop.types import (
    KINDS,
    Fanouts,
    FreshStatistics,
    Manifest,
    OnlineOptions,
    OnlineStatistics,
    as_graph_source,
    as_row_source,
    check_name,
    parse_budget,
    parse_bytes,
)


class AsyncGraphDatabase:
    """See `GraphDatabase`."""

    _channel: AsyncChannel

    async def import_graph(
        self, name: str, source: Any, *, num_nodes: int | None = None, memory: str | int = IMPORT_MEMORY
    ) -> AsyncRemoteJob[Manifest]:
        """See `GraphDatabase.import_graph`. The source is read in threads."""
        check_name(KINDS["graphs"], name)
        graph, memory_bytes = as_graph_source(source, num_nodes), parse_bytes(memory)
        script = lambda control: importing.import_graph(name, graph, memory_bytes, control)  # noqa: E731
        return AsyncRemoteJob(f"import of {name}", self._channel, script)

    async def import_features(
        self, name: str, source: Any, *, codec: str = "raw", memory: str | int = IMPORT_MEMORY
    ) -> AsyncRemoteJob[Manifest]:
        """See `GraphDatabase.import_features`. The source is read in threads."""
        check_name(KINDS["features"], name)
        rows, memory_bytes = as_row_source(source), parse_bytes(memory)
        script = lambda control: importing.import_features(name, rows, codec, memory_bytes, control)  # noqa: E731
        return AsyncRemoteJob(f"import of {name}", self._channel, script)

    async def create_plan(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int = 1,
        first_epoch: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        num_shards: int = 1,
        replayed: bool = True,
        **sampling: Any,
    ) -> AsyncRemoteJob[Manifest]:
        """See `GraphDatabase.create_plan`."""
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        check_shards(num_shards, num_batches(seeds, batches))
        request = plans.create_request(
            name,
            made_of,
            (first_epoch, epochs),
            cache_bytes=parse_budget(cache_memory),
            pack_bytes=parse_bytes(pack_memory),
            disk_bytes=None if disk is None else parse_bytes(disk),
            num_shards=num_shards,
            replayed=replayed,
        )
        if uploaded := importing.seed_arrays(request):
            script = lambda control: importing.create_plan(request, uploaded, control)  # noqa: E731
            return AsyncRemoteJob(f"plan {name}", self._channel, script)
        job_id = await run_async(importing.begin_plan(request), self._channel)
        return AsyncRemoteJob(f"plan {name}", self._channel, lambda control: importing.follow(job_id, control))

    async def graph(self, name: str, *, memory: str | int | None = None, placement: str = "auto") -> AsyncGraph:
        """See `GraphDatabase.graph`."""
        return AsyncGraph(self._channel, await self._channel.call(graphs.get(name)))

    async def graph_names(self) -> list[str]:
        """See `GraphDatabase.graph_names`."""
        return await self._channel.call(graphs.names())

    async def drop_graph(self, name: str) -> None:
        """See `GraphDatabase.drop_graph`."""
        await self._channel.call(graphs.drop(name))

    async def features(self, name: str, *, memory: str | int | None = None) -> AsyncFeatureTable:
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
