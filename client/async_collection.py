"""A collection of vectors that a server holds, for tasks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_job import AsyncRemoteJob, waited
from outcrop.client.building import Input, build, build_options
from outcrop.client.job import begun
from outcrop.client.rpcs import collections, indexes, vectors
from outcrop.client.rpcs.collections import Found
from outcrop.client.scan import AsyncScan, Rebatched
from outcrop.stop import Stop
from outcrop.types import (
    CollectionInfo,
    CollectionStatistics,
    Manifest,
    Neighbors,
    Progress,
    VerifyReport,
    parse_bytes,
)


class AsyncCollection:
    """See `Collection`. Any number of tasks may use it at once; a call ends when its task is cancelled."""

    def __init__(self, channel: AsyncChannel, found: Found) -> None:
        """Use `AsyncDatabase.collection`."""
        self.name = found.info.name
        self.id = found.id
        self.spec = found.info.spec
        self._found = found
        self._channel = channel

    async def build(
        self,
        vectors: Any,
        ids: Any = None,
        *,
        memory: str | int = "1GiB",
        search_memory: str | int | None = None,
        threads: int | None = None,
        code: str = "auto",
        num_centroids: int | None = None,
        copies: int | None = None,
        copy_rule: str | None = None,
        calibration_queries: npt.ArrayLike | None = None,
        seed: int = 0,
    ) -> AsyncRemoteJob[Manifest]:
        """See `Collection.build`. The vectors are read in threads."""
        options = build_options(memory, search_memory, threads, code, num_centroids, copies, copy_rule, seed)
        options = replace(options, calibration_queries=calibration_queries)
        given = Input(self._found, vectors, ids)
        return AsyncRemoteJob(
            f"build of {self.name}",
            self._channel,
            lambda control: build(self._found, given, options, threads, control),
        )

    async def search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        *,
        recall: float | None = None,
        nprobe: int | None = None,
        rerank: int | None = None,
        exact: bool = False,
        threads: int | None = None,
        share_reads: bool = True,
        timeout: float | None = None,
    ) -> Neighbors:
        """See `Collection.search`. Reads end when the task is cancelled."""
        rpcs = vectors.searches(
            self.name,
            self.spec,
            queries,
            k,
            recall=recall,
            nprobe=nprobe,
            rerank=rerank,
            exact=exact,
            share_reads=share_reads,
        )
        if len(rpcs) == 1:
            return await self._channel.call(rpcs[0], timeout)
        stop = Stop(self._channel.endpoint.timeout if timeout is None else timeout)
        return vectors.joined([await self._channel.call(rpc, stop.remaining()) for rpc in rpcs])

    def scan(self, batch_rows: int = 10_000, *, start_row: int = 0, version: int | None = None) -> AsyncScan:
        """See `Collection.scan`. The scan begins with its first batch, and raises there what `scan` raises."""
        export = vectors.Export(self.name, self.spec, start_row, version)
        return AsyncScan(export, self._channel.stream(export), Rebatched(batch_rows), start_row)

    async def info(self) -> CollectionInfo:
        """See `Collection.info`."""
        return (await self._channel.call(collections.get(self.name))).info

    async def count(self) -> int:
        """See `Collection.count`."""
        return await self._channel.call(vectors.count(self.name))

    async def statistics(self) -> CollectionStatistics:
        """See `Collection.statistics`."""
        return await self._channel.call(collections.statistics(self.name))

    async def verify(
        self, *, memory: str | int = "256MiB", progress: Callable[[Progress], object] | None = None
    ) -> VerifyReport:
        """See `Collection.verify`; `progress` is called on the event loop."""
        rpc = indexes.verify(self.name, parse_bytes(memory))
        job: AsyncRemoteJob[VerifyReport] = AsyncRemoteJob(
            f"verification of {self.name}", self._channel, lambda control: begun(rpc, control)
        )
        return await waited(job, progress)

    async def refresh(self) -> None:
        """See `Collection.refresh`."""

    async def close(self) -> None:
        """See `Collection.close`."""
