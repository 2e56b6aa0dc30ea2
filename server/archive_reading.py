"""The archive of a snapshot as it is sent: chunks of 1 MiB, the next one read while one is on its way."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import aiofiles

from outcrop.errors import CorruptFile, StorageFailure
from outcrop.proto.chunks import CHUNK_BYTES
from outcrop.store.snapshots import Extent, SnapshotArchive


async def archive_chunks(archive: SnapshotArchive, start: int, stop: int) -> AsyncIterator[bytes]:
    """Yield bytes [start, stop) of the archive. Raises CorruptFile for a file that was cut, StorageFailure."""
    chunks = _chunks(archive, start, stop)
    ahead = asyncio.ensure_future(anext(chunks, None))
    try:
        while (data := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.ensure_future(anext(chunks, None))
            yield data
    finally:
        # Also when the caller has left: the read under way ends before the file is closed below it.
        await asyncio.wait([ahead])
        ahead.exception()
        await chunks.aclose()


async def _chunks(archive: SnapshotArchive, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    for extent in archive.extents(start, stop):
        if extent.path is None:
            head = archive.read(extent.offset, extent.length)
            for begin in range(0, len(head), CHUNK_BYTES):
                yield head[begin : begin + CHUNK_BYTES]
        else:
            async with contextlib.aclosing(_file_chunks(extent)) as chunks:
                async for data in chunks:
                    yield data


async def _file_chunks(extent: Extent) -> AsyncGenerator[bytes, None]:
    assert extent.path is not None
    try:
        async with aiofiles.open(extent.path, "rb") as file:
            await file.seek(extent.offset)
            left = extent.length
            while left:
                data = await file.read(min(CHUNK_BYTES, left))
                if not data:
                    raise CorruptFile(f"{extent.path}: ends {left} bytes too early")
                left -= len(data)
                yield data
    except OSError as error:
        raise StorageFailure(error.errno, f"read: {error.strerror}", str(extent.path)) from error
