"""A server's database and what it holds, for tasks."""

import os
from collections.abc import Generator
from types import TracebackType
from typing import Any

from outcrop.client.async_administration import AsyncAdministration
from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_collection import AsyncCollection
from outcrop.client.async_graph_database import AsyncGraphDatabase
from outcrop.client.async_job import AsyncRemoteJob
from outcrop.client.async_snapshots import AsyncSnapshots
from outcrop.client.endpoint import Endpoint, parse_endpoint
from outcrop.client.job import followed
from outcrop.client.rpcs import collections, jobs
from outcrop.client.rpcs.jobs import JobRecord
from outcrop.types import CollectionInfo, CollectionSpec


class AsyncDatabase(AsyncGraphDatabase, AsyncAdministration, AsyncSnapshots):
    """See `Database`. An async context manager; may be pickled, and used by several event loops."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Use `outcrop.connect_async`. Nothing is sent before the first call."""
        self._channel = AsyncChannel(endpoint)

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is."""
        return self._channel.endpoint

    async def create_collection(
        self, name: str, *, dim: int, metric: str = "l2", dtype: str = "float32", id_type: str = "int64"
    ) -> AsyncCollection:
        """See `Database.create_collection`."""
        rpc = collections.create(name, CollectionSpec(dim, metric, dtype, id_type))
        return AsyncCollection(self._channel, await self._channel.call(rpc))

    async def collection(self, name: str) -> AsyncCollection:
        """See `Database.collection`."""
        return AsyncCollection(self._channel, await self._channel.call(collections.get(name)))

    async def collection_names(self) -> list[str]:
        """See `Database.collection_names`."""
        return await self._channel.call(collections.names())

    async def list_collections(self) -> list[CollectionInfo]:
        """See `Database.list_collections`."""
        return await self._channel.call(collections.infos())

    async def drop_collection(self, name: str) -> None:
        """See `Database.drop_collection`."""
        await self._channel.call(collections.drop(name))

    async def list_jobs(self, *, ended: bool = False) -> list[JobRecord]:
        """See `Database.list_jobs`."""
        return await self._channel.call(jobs.listed(ended))

    async def job(self, job_id: str) -> AsyncRemoteJob[Any]:
        """See `Database.job`."""
        found = await self._channel.call(jobs.get(job_id))
        return AsyncRemoteJob(f"{found.kind} {found.id}", self._channel, lambda control: followed(job_id, control))

    async def close(self) -> None:
        """See `Database.close`."""
        await self._channel.close()

    def __await__(self) -> Generator[Any, None, "AsyncDatabase"]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> "AsyncDatabase":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def connect_async(url: str | os.PathLike[str], **options: Any) -> AsyncDatabase:
    """Return the database at a URL. options: of `parse_endpoint`."""
    return AsyncDatabase(parse_endpoint(os.fspath(url), **options))
