"""Snapshots of a server, for tasks: what `AsyncDatabase` has of them."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_job import AsyncRemoteJob
from outcrop.client.job import followed
from outcrop.client.rpcs import snapshots
from outcrop.client.rpcs.snapshots import ArchiveHead
from outcrop.client.snapshot_archive import AsyncSnapshotArchive
from outcrop.client.snapshot_jobs import check_archive, export, restore_file, snapshot_name
from outcrop.client.uploading import fresh_id
from outcrop.types import (
    ArchiveInfo,
    RestoreReport,
    SnapshotInfo,
    SnapshotOrPath,
    SnapshotReport,
    check_new_file,
    is_archive_path,
    parse_bytes,
)


class AsyncSnapshots:
    """See `Snapshots`."""

    _channel: AsyncChannel

    async def create_snapshot(self, name: str, *, objects: Sequence[tuple[str, str]] | None = None) -> SnapshotInfo:
        """See `Snapshots.create_snapshot`."""
        return await self._channel.call(snapshots.create(name, objects))

    async def snapshot(self, name: str) -> SnapshotInfo:
        """See `Snapshots.snapshot`."""
        return await self._channel.call(snapshots.get(name))

    async def list_snapshots(self) -> list[SnapshotInfo]:
        """See `Snapshots.list_snapshots`."""
        return await self._channel.call(snapshots.infos())

    async def delete_snapshot(self, name: str) -> None:
        """See `Snapshots.delete_snapshot`."""
        await self._channel.call(snapshots.delete(name))

    async def snapshot_archive(self, name: str) -> AsyncSnapshotArchive:
        """See `Snapshots.snapshot_archive`."""
        return AsyncSnapshotArchive(self._channel, name, await self._archive_head(name))

    async def export_snapshot(self, name: str, path: str | os.PathLike[str]) -> AsyncRemoteJob[ArchiveInfo]:
        """See `Snapshots.export_snapshot`."""
        target = Path(path).absolute()
        check_new_file(target)
        head = await self._archive_head(name)
        return AsyncRemoteJob(f"export of {name}", self._channel, lambda control: export(name, head, target, control))

    async def verify_snapshot(
        self, source: SnapshotOrPath, *, memory: str | int = "256MiB"
    ) -> AsyncRemoteJob[SnapshotReport]:
        """See `Snapshots.verify_snapshot`."""
        name, job_id = snapshot_name(source), fresh_id("verify", secrets.token_hex(16))
        await self._channel.call(snapshots.verify(name, parse_bytes(memory), job_id))
        return AsyncRemoteJob(f"verification of {name}", self._channel, lambda control: followed(job_id, control))

    async def restore_snapshot(
        self,
        source: SnapshotOrPath,
        *,
        rename: Mapping[str, str] | None = None,
        objects: Sequence[tuple[str, str]] | None = None,
    ) -> AsyncRemoteJob[RestoreReport]:
        """See `Snapshots.restore_snapshot`."""
        job_id, renamed = fresh_id("restore", secrets.token_hex(16)), rename or {}
        title = f"restore of {os.fspath(source)}"
        if is_archive_path(source):
            path = check_archive(Path(source))
            upload = lambda control: restore_file(path, renamed, objects, job_id, control)  # noqa: E731
            return AsyncRemoteJob(title, self._channel, upload)
        await self._channel.call(snapshots.restore({"name": str(source)}, renamed, objects, job_id))
        return AsyncRemoteJob(title, self._channel, lambda control: followed(job_id, control))

    async def _archive_head(self, name: str) -> ArchiveHead:
        (head,) = [head async for head in self._channel.stream(snapshots.Opening(name))]
        return head
