"""A collection, for tasks."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from outcrop.asynchronous.iteration import AsyncScan
from outcrop.asynchronous.job import AsyncJob
from outcrop.asynchronous.progress import reporting
from outcrop.collection import Collection
from outcrop.jobs import Job
from outcrop.tasks import Calls, give_back
from outcrop.types import (
    CollectionInfo,
    CollectionSpec,
    CollectionStatistics,
    Manifest,
    Neighbors,
    Progress,
    VerifyReport,
)


class AsyncCollection:
    """See `Collection`. Any number of tasks may use it at once."""

    def __init__(self, calls: Calls, collection: Collection) -> None:
        """Use `AsyncDatabase.collection`."""
        self._calls = calls
        self._collection = collection

    @property
    def name(self) -> str:
        """What it is called."""
        return self._collection.name

    @property
    def id(self) -> str:
        """What it is known by inside; another one that is made under its name has another id."""
        return self._collection.id

    @property
    def spec(self) -> CollectionSpec:
        """Dimension, metric, types."""
        return self._collection.spec

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
    ) -> AsyncJob[Manifest]:
        """See `Collection.build`."""
        job = await self._calls.run(
            lambda: self._collection.build(
                vectors,
                ids,
                memory=memory,
                search_memory=search_memory,
                threads=threads,
                code=code,
                num_centroids=num_centroids,
                copies=copies,
                copy_rule=copy_rule,
                calibration_queries=calibration_queries,
                seed=seed,
            ),
            unwanted=Job.cancel,
        )
        return AsyncJob(job)

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
        return await self._calls.stoppable(
            lambda stop: self._collection.search(
                queries,
                k,
                recall=recall,
                nprobe=nprobe,
                rerank=rerank,
                exact=exact,
                threads=threads,
                share_reads=share_reads,
                stop=stop,
            ),
            timeout,
        )

    def scan(self, batch_rows: int = 10_000, *, start_row: int = 0, version: int | None = None) -> AsyncScan:
        """See `Collection.scan`. The scan begins with its first batch, and raises there what `scan` raises."""
        return AsyncScan(
            self._calls,
            lambda stop: self._collection.scan(batch_rows, start_row=start_row, version=version, stop=stop),
            start_row,
        )

    async def info(self) -> CollectionInfo:
        """See `Collection.info`."""
        return await self._calls.run(self._collection.info)

    async def count(self) -> int:
        """See `Collection.count`."""
        return await self._calls.run(self._collection.count)

    async def statistics(self) -> CollectionStatistics:
        """See `Collection.statistics`."""
        return await self._calls.run(self._collection.statistics)

    async def verify(
        self, *, memory: str | int = "256MiB", progress: Callable[[Progress], object] | None = None
    ) -> VerifyReport:
        """See `Collection.verify`; `progress` is called on the event loop."""
        loop = asyncio.get_running_loop()
        return await self._calls.stoppable(
            lambda stop: self._collection.verify(memory=memory, progress=reporting(loop, progress, stop))
        )

    async def refresh(self) -> None:
        """See `Collection.refresh`."""
        await self._calls.run(self._collection.refresh)

    async def close(self) -> None:
        """See `Collection.close`."""
        await give_back(self._collection.close)
