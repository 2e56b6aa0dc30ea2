"""The archive of a snapshot that a server holds."""

from collections.abc import Iterator
from types import TracebackType

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.channel import Channel
from outcrop.client.rpcs.snapshots import ArchiveHead, Download, Opening
from outcrop.errors import InvalidArgument


class SnapshotArchive:
    """As `outcrop.store.snapshots.SnapshotArchive`, but for this: between reads the server keeps nothing, so a snapshot
    that is deleted is gone, and one that is made anew under its name is refused."""

    def __init__(self, channel: Channel, name: str) -> None:
        """Use `Database.snapshot_archive`."""
        self._channel, self._name = channel, name
        (self._head,) = channel.stream(Opening(name))
        self.size_bytes, self.etag = self._head.size_bytes, self._head.etag

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length) of the archive, fewer at its end, none behind it.

        Whoever restores them checks every block. Raises InvalidArgument for a negative offset or length, and for a
        snapshot that was made anew; NotFound when it was deleted.
        """
        check_range(offset, length)
        if not length or offset >= self.size_bytes:
            return b""
        pieces: Iterator[memoryview] = self._channel.stream(Download(self._name, self._head, offset, offset + length))
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing is held between reads."""

    def __enter__(self) -> "SnapshotArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSnapshotArchive:
    """As `SnapshotArchive`, for tasks."""

    def __init__(self, channel: AsyncChannel, name: str, head: ArchiveHead) -> None:
        """Use `AsyncDatabase.snapshot_archive`."""
        self._channel, self._name, self._head = channel, name, head
        self.size_bytes, self.etag = head.size_bytes, head.etag

    async def read(self, offset: int, length: int) -> bytes:
        """As `SnapshotArchive.read`."""
        check_range(offset, length)
        if not length or offset >= self.size_bytes:
            return b""
        feed = Download(self._name, self._head, offset, offset + length)
        return b"".join([data async for data in self._channel.stream(feed)])

    async def close(self) -> None:
        """Nothing is held between reads."""

    async def __aenter__(self) -> "AsyncSnapshotArchive":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def check_range(offset: int, length: int) -> None:
    """Raise InvalidArgument for what is negative."""
    if offset < 0 or length < 0:
        raise InvalidArgument(f"archive: expected offset and length from 0, found {offset} and {length}")
