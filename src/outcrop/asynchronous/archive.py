"""The bytes of a snapshot, for tasks."""

from types import TracebackType

from outcrop.store.snapshots import SnapshotArchive
from outcrop.tasks import Calls, give_back


class AsyncSnapshotArchive:
    """See `SnapshotArchive`. An async context manager."""

    def __init__(self, calls: Calls, archive: SnapshotArchive) -> None:
        """Use `AsyncDatabase.snapshot_archive`."""
        self._calls = calls
        self._archive = archive
        self.size_bytes = archive.size_bytes
        self.etag = archive.etag

    async def read(self, offset: int, length: int) -> bytes:
        """See `SnapshotArchive.read`."""
        return await self._calls.run(lambda: self._archive.read(offset, length))

    async def close(self) -> None:
        """See `SnapshotArchive.close`."""
        await give_back(self._archive.close)

    async def __aenter__(self) -> "AsyncSnapshotArchive":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
