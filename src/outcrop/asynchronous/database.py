"""A root folder and what it holds, for tasks."""

import asyncio
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from outcrop.asynchronous.archive import AsyncSnapshotArchive
from outcrop.asynchronous.collection import AsyncCollection
from outcrop.asynchronous.job import AsyncJob
from outcrop.asynchronous.opened import AsyncFeatureTable, AsyncGraph, AsyncPlan
from outcrop.asynchronous.progress import reporting
from outcrop.embedded import Database
from outcrop.jobs import Job
from outcrop.tasks import AsyncLoader, Calls
from outcrop.types import (
    ArchiveInfo,
    CollectionInfo,
    Fanouts,
    FreshStatistics,
    Manifest,
    OnlineOptions,
    OnlineStatistics,
    Progress,
    RestoreReport,
    SnapshotInfo,
    SnapshotOrPath,
    SnapshotReport,
    StoredReport,
)

Result = TypeVar("Result")

# Calls at one time; more would only wait for the device and the cores.
_MOST_THREADS = 32


class AsyncDatabase:
    """See `Database`. An async context manager; what is not opened with one is opened by the first call.

    Awaiting it opens it too: `database = await outcrop.connect_async(path)`.
    """

    def __init__(self, connect: Callable[[], Database], name: str) -> None:
        """Use `outcrop.connect_async`."""
        self._connect = connect
        self._calls = Calls(name, _MOST_THREADS)
        self._lock = threading.Lock()
        self._opened: Database | None = None

    def __await__(self) -> Generator[Any, None, "AsyncDatabase"]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> "AsyncDatabase":
        try:
            await self._calls.run(lambda: self._database)
        except BaseException:
            await (
                self.close()
            )  # a task that is cancelled leaves before the root is open, and nobody else would close it
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls under way, then close everything. Closing twice is allowed."""
        await self._calls.finish(self._close)

    # ---- collections

    async def create_collection(
        self, name: str, *, dim: int, metric: str = "l2", dtype: str = "float32", id_type: str = "int64"
    ) -> AsyncCollection:
        """See `Database.create_collection`."""
        made = await self._calls.run(
            lambda: self._database.create_collection(name, dim=dim, metric=metric, dtype=dtype, id_type=id_type)
        )
        return AsyncCollection(self._calls, made)

    async def collection(self, name: str) -> AsyncCollection:
        """See `Database.collection`."""
        return AsyncCollection(self._calls, await self._calls.run(lambda: self._database.collection(name)))

    async def collection_names(self) -> list[str]:
        """See `Database.collection_names`."""
        return await self._calls.run(lambda: self._database.collection_names())

    async def list_collections(self) -> list[CollectionInfo]:
        """See `Database.list_collections`."""
        return await self._calls.run(lambda: self._database.list_collections())

    async def drop_collection(self, name: str) -> None:
        """See `Database.drop_collection`."""
        await self._calls.run(lambda: self._database.drop_collection(name))

    # ---- graphs and feature tables

    async def import_graph(
        self, name: str, source: Any, *, num_nodes: int | None = None, memory: str | int = "256MiB"
    ) -> AsyncJob[Manifest]:
        """See `Database.import_graph`."""
        return await self._begin(lambda: self._database.import_graph(name, source, num_nodes=num_nodes, memory=memory))

    async def graph(self, name: str, *, memory: str | int | None = None, placement: str = "auto") -> AsyncGraph:
        """See `Database.graph`."""
        opened = await self._calls.open(lambda: self._database.graph(name, memory=memory, placement=placement))
        return AsyncGraph(self._calls, opened)

    async def graph_names(self) -> list[str]:
        """See `Database.graph_names`."""
        return await self._calls.run(lambda: self._database.graph_names())

    async def drop_graph(self, name: str) -> None:
        """See `Database.drop_graph`."""
        await self._calls.run(lambda: self._database.drop_graph(name))

    async def import_features(
        self, name: str, source: Any, *, codec: str = "raw", memory: str | int = "256MiB"
    ) -> AsyncJob[Manifest]:
        """See `Database.import_features`."""
        return await self._begin(lambda: self._database.import_features(name, source, codec=codec, memory=memory))

    async def features(self, name: str, *, memory: str | int | None = None) -> AsyncFeatureTable:
        """See `Database.features`."""
        opened = await self._calls.open(lambda: self._database.features(name, memory=memory))
        return AsyncFeatureTable(self._calls, opened)

    async def feature_names(self) -> list[str]:
        """See `Database.feature_names`."""
        return await self._calls.run(lambda: self._database.feature_names())

    async def drop_features(self, name: str) -> None:
        """See `Database.drop_features`."""
        await self._calls.run(lambda: self._database.drop_features(name))

    # ---- plans and loaders

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
    ) -> AsyncJob[Manifest]:
        """See `Database.create_plan`."""
        return await self._begin(
            lambda: self._database.create_plan(
                name,
                graph=graph,
                features=features,
                seeds=seeds,
                fanouts=fanouts,
                batch_size=batch_size,
                epochs=epochs,
                first_epoch=first_epoch,
                seed=seed,
                shuffle=shuffle,
                drop_last=drop_last,
                cache_memory=cache_memory,
                pack_memory=pack_memory,
                disk=disk,
                num_shards=num_shards,
                replayed=replayed,
                **sampling,
            )
        )

    async def plan(self, name: str) -> AsyncPlan:
        """See `Database.plan`."""
        return AsyncPlan(self._calls, await self._calls.open(lambda: self._database.plan(name)))

    async def plan_names(self) -> list[str]:
        """See `Database.plan_names`."""
        return await self._calls.run(lambda: self._database.plan_names())

    async def drop_plan(self, name: str) -> None:
        """See `Database.drop_plan`."""
        await self._calls.run(lambda: self._database.drop_plan(name))

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
        """See `Database.online_loader`."""
        opened = await self._calls.open(
            lambda: self._database.online_loader(
                graph=graph,
                features=features,
                seeds=seeds,
                fanouts=fanouts,
                options=options,
                batch_size=batch_size,
                seed=seed,
                shuffle=shuffle,
                drop_last=drop_last,
                **sampling,
            )
        )
        return AsyncLoader(opened)

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
        """See `Database.fresh_loader`."""
        opened = await self._calls.open(
            lambda: self._database.fresh_loader(
                name,
                graph=graph,
                features=features,
                seeds=seeds,
                fanouts=fanouts,
                batch_size=batch_size,
                epochs=epochs,
                seed=seed,
                shuffle=shuffle,
                drop_last=drop_last,
                cache_memory=cache_memory,
                pack_memory=pack_memory,
                disk=disk,
                slots=slots,
                threads=threads,
                **sampling,
            )
        )
        return AsyncLoader(opened)

    # ---- snapshots

    async def create_snapshot(self, name: str, *, objects: Sequence[tuple[str, str]] | None = None) -> SnapshotInfo:
        """See `Database.create_snapshot`."""
        return await self._calls.run(lambda: self._database.create_snapshot(name, objects=objects))

    async def snapshot(self, name: str) -> SnapshotInfo:
        """See `Database.snapshot`."""
        return await self._calls.run(lambda: self._database.snapshot(name))

    async def list_snapshots(self) -> list[SnapshotInfo]:
        """See `Database.list_snapshots`."""
        return await self._calls.run(lambda: self._database.list_snapshots())

    async def delete_snapshot(self, name: str) -> None:
        """See `Database.delete_snapshot`."""
        await self._calls.run(lambda: self._database.delete_snapshot(name))

    async def verify_snapshot(
        self, source: SnapshotOrPath, *, memory: str | int = "256MiB"
    ) -> AsyncJob[SnapshotReport]:
        """See `Database.verify_snapshot`."""
        return await self._begin(lambda: self._database.verify_snapshot(source, memory=memory))

    async def snapshot_archive(self, name: str) -> AsyncSnapshotArchive:
        """See `Database.snapshot_archive`."""
        opened = await self._calls.open(lambda: self._database.snapshot_archive(name))
        return AsyncSnapshotArchive(self._calls, opened)

    async def export_snapshot(self, name: str, path: str | os.PathLike[str]) -> AsyncJob[ArchiveInfo]:
        """See `Database.export_snapshot`."""
        return await self._begin(lambda: self._database.export_snapshot(name, path))

    async def restore_snapshot(
        self,
        source: SnapshotOrPath,
        *,
        rename: Mapping[str, str] | None = None,
        objects: Sequence[tuple[str, str]] | None = None,
    ) -> AsyncJob[RestoreReport]:
        """See `Database.restore_snapshot`."""
        return await self._begin(lambda: self._database.restore_snapshot(source, rename=rename, objects=objects))

    # ---- everything

    async def stored_names(self) -> list[tuple[str, str]]:
        """See `Database.stored_names`."""
        return await self._calls.run(lambda: self._database.stored_names())

    async def verify(
        self,
        kind: str,
        name: str,
        *,
        memory: str | int = "256MiB",
        progress: Callable[[Progress], object] | None = None,
    ) -> StoredReport:
        """See `Database.verify`; `progress` is called on the event loop."""
        loop = asyncio.get_running_loop()
        return await self._calls.stoppable(
            lambda stop: self._database.verify(kind, name, memory=memory, progress=reporting(loop, progress, stop))
        )

    async def gc(self) -> list[str]:
        """See `Database.gc`."""
        return await self._calls.run(lambda: self._database.gc())

    # ---- in the threads

    @property
    def _database(self) -> Database:
        """The database, opened by whoever comes first."""
        with self._lock:
            if self._opened is None:
                self._opened = self._connect()
            return self._opened

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    async def _begin(self, work: Callable[[], Job[Result]]) -> AsyncJob[Result]:
        """Begin a job, which is cancelled where the task that wanted it was cancelled meanwhile."""
        return AsyncJob(await self._calls.run(work, unwanted=Job.cancel))
