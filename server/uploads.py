"""Large input on its way: named arrays, appended chunk by chunk, kept until a job has used them.

An upload belongs to the key that began it; others see nothing of it. What an answer counts survives a crash.
"""

import asyncio
import contextlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiofiles
import numpy as np

from outcrop.errors import InvalidArgument, NotFound, ResourceExhausted, StorageFailure, Unavailable
from outcrop.proto.chunks import Chunk
from outcrop.proto.tensors import check_shape, numpy_dtype, wire_dtype
from outcrop.server.settings import Jobs as JobSettings
from outcrop.server.upload_files import (
    StagedArray,
    StagedUpload,
    Upload,
    begin_upload,
    load_uploads,
    remove_upload,
)
from outcrop.store import os_calls
from outcrop.types import check_name
from outcrop.v1 import upload_pb2 as pb

__all__ = ["Upload", "Uploads"]

Result = TypeVar("Result")

# A crash loses at most so much of what is not answered yet.
_CHECKPOINT_BYTES = 64 << 20
_MOST_ARRAYS = 4096
_LONGEST_NAME = 255
_LARGEST_ROW = 1 << 40
# A stream that broke is tidied up for a moment; the one that takes it up waits so long.
_PATIENCE_SECONDS = 5.0


class Uploads:
    """All uploads of one root. Belongs to one event loop, but for `get`. `start` comes first."""

    def __init__(self, folder: Path, settings: JobSettings) -> None:
        self._folder, self._settings = folder, settings
        self._changing = asyncio.Lock()
        self._uploads: dict[tuple[str, str], StagedUpload] = {}

    async def start(self) -> None:
        """Load what is there; damaged ones are removed, and clients begin them anew. Raises StorageFailure."""

        def load() -> None:
            os_calls.make_folder(self._folder)
            self._uploads = {(upload.owner, upload.id): upload for upload in load_uploads(self._folder)}

        await in_thread(load)

    def get(self, upload_id: str, owner: str) -> Upload:
        """Return what is there of an upload, for reading; any thread. Raises NotFound."""
        upload = self._find(upload_id, owner)
        return Upload(upload_id, upload.folder, dict(upload.arrays))

    def hold(self, upload_ids: Sequence[str], owner: str, missing_ok: bool = False) -> list[StagedUpload]:
        """Keep uploads as they are until `release`, and return them. missing_ok: those that are there.

        Raises NotFound, Unavailable while something is appended.
        """
        found = [self._uploads.get((owner, upload_id)) for upload_id in upload_ids]
        for upload_id, upload in zip(upload_ids, found, strict=True):
            if upload is None and not missing_ok:
                self._find(upload_id, owner)
            if upload is not None and upload.busy:
                raise Unavailable(f"upload {upload_id}: still being appended to")
        held = [upload for upload in found if upload is not None]
        for upload in held:
            upload.holds += 1
        return held

    def release(self, held: Iterable[StagedUpload]) -> None:
        """Undo one `hold`, by what it has returned: an id may stand for another upload by then."""
        for upload in held:
            assert upload.holds > 0
            upload.holds -= 1
            upload.used_unix = time.time()

    async def append(self, chunks: AsyncIterator[Chunk[pb.UploadRequest]], owner: str) -> list[pb.UploadedArray]:
        """Append the chunks of a stream, all of one upload, and return what its arrays have then.

        What has come is kept when the stream breaks. Raises InvalidArgument where a chunk does not go on where its
        array ends, Unavailable when another stream appends to it or a job uses it, ResourceExhausted, StorageFailure.
        """
        stream = _Stream(self, owner)
        try:
            async for chunk in chunks:
                await stream.write(chunk)
        finally:
            # Also when this task is cancelled: what has come is kept, and the array is free when the client is back.
            await asyncio.shield(asyncio.ensure_future(stream.close()))
        return [] if stream.upload is None else _described(stream.upload)

    async def arrays(self, upload_id: str, owner: str) -> list[pb.UploadedArray]:
        """Return what is durable of an upload. Raises NotFound."""
        await self._settled(lambda: not self._find(upload_id, owner).busy)
        return _described(self._find(upload_id, owner))

    async def remove(self, upload_id: str, owner: str) -> None:
        """Remove an upload. Raises NotFound; Unavailable while a job needs it or something is appended."""
        upload = self._find(upload_id, owner)
        await self._settled(lambda: not upload.busy)
        if upload.holds or upload.busy:
            raise Unavailable(f"upload {upload_id}: {'a job needs it' if upload.holds else 'still being appended to'}")
        if self._uploads.pop((owner, upload_id), None) is not None:
            async with self._changing:
                await in_thread(remove_upload, upload)

    async def expire(self) -> None:
        """Remove uploads that nothing has used for long. Raises StorageFailure."""
        oldest = time.time() - self._settings.upload_expires_seconds
        for upload in list(self._uploads.values()):
            if upload.used_unix < oldest and not upload.holds and not upload.busy:
                with contextlib.suppress(NotFound, Unavailable):
                    await self.remove(upload.id, upload.owner)

    async def begin(self, upload_id: str, owner: str) -> StagedUpload:
        """Return an upload to append to, a new one if need be. Raises InvalidArgument, Unavailable."""
        check_name("upload_id", upload_id, longest=64)
        async with self._changing:
            upload = self._uploads.get((owner, upload_id))
            if upload is None:
                upload = await in_thread(begin_upload, self._folder, upload_id, owner)
                self._uploads[owner, upload_id] = upload
            return upload

    async def claim(self, upload: StagedUpload, head: pb.UploadRequest) -> StagedArray:
        """Return an array to append to, which is nobody else's until `busy` is taken back."""
        array = upload.arrays.get(head.array) or _new_array(upload, head)
        await self._settled(lambda: not array.busy)
        if upload.arrays.setdefault(head.array, array) is not array or array.busy:
            raise Unavailable(f"upload {upload.id}: another stream appends to array {head.array!r}")
        if upload.holds:
            raise Unavailable(f"upload {upload.id}: a job is using it")
        if self._uploads.get((upload.owner, upload.id)) is not upload:
            raise Unavailable(f"upload {upload.id}: is being removed; try again")
        array.busy = True
        return array

    def admit(self, num_bytes: int) -> None:
        """Raise ResourceExhausted when so many bytes more would be too much."""
        held, most = sum(upload.size_bytes for upload in self._uploads.values()), self._settings.upload_bytes
        if held + num_bytes > most:
            raise ResourceExhausted(f"uploads: {held} bytes wait to be used, and at most {most} may; try again later")

    def _find(self, upload_id: str, owner: str) -> StagedUpload:
        upload = self._uploads.get((owner, upload_id))
        if upload is None:
            raise NotFound(f"there is no upload {upload_id!r} of {owner}; it may have been used, or expired")
        return upload

    async def _settled(self, settled: Callable[[], bool]) -> None:
        """Wait a moment for a broken stream to be tidied up."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while not settled() and time.monotonic() < patience:
            await asyncio.sleep(0.01)


class _Stream:
    """One client's stream: the arrays that it appends to, with their files."""

    def __init__(self, uploads: Uploads, owner: str) -> None:
        self.upload: StagedUpload | None = None
        self._uploads, self._owner = uploads, owner
        self._files: dict[str, Any] = {}
        self._unsaved_bytes = 0
        self._broken = False

    async def write(self, chunk: Chunk[pb.UploadRequest]) -> None:
        """Append one chunk."""
        head, data = chunk.head, chunk.data
        if self.upload is None:
            self.upload = await self._uploads.begin(head.upload_id, self._owner)
        elif head.upload_id != self.upload.id:
            raise InvalidArgument(
                f"upload_id: expected {self.upload.id!r} throughout a stream, found {head.upload_id!r}"
            )
        if head.array not in self._files:
            await self._open(head)
        array = self.upload.arrays[head.array]
        _check_place(self.upload, head, array)
        self._uploads.admit(data.nbytes)
        await self._append(head.array, array, data)
        if self._unsaved_bytes >= _CHECKPOINT_BYTES:
            await self._save()

    async def close(self) -> None:
        """Make durable what has come, and give the arrays back."""
        if self.upload is None or not self._files:
            return  # nothing has come; and without an array of its own, the upload may have been removed meanwhile
        try:
            if not self._broken:
                await self._save()
        finally:
            for name, file in self._files.items():
                with contextlib.suppress(OSError):  # what counts was synced
                    await file.close()
                array = self.upload.arrays[name]
                array.size_bytes = array.durable_bytes  # what is not is cut off by the next stream
                array.busy = False

    async def _open(self, head: pb.UploadRequest) -> None:
        assert self.upload is not None
        array = await self._uploads.claim(self.upload, head)
        path = self.upload.folder / array.file
        try:
            self._files[head.array] = await aiofiles.open(path, "r+b", buffering=0, opener=_create)
        except BaseException as error:
            array.busy = False
            if not isinstance(error, OSError):
                raise
            raise StorageFailure(error.errno, f"open: {error.strerror}", str(path)) from error
        try:
            await self._files[head.array].truncate(array.durable_bytes)
            await self._files[head.array].seek(array.durable_bytes)
        except OSError as error:
            raise StorageFailure(error.errno, f"truncate: {error.strerror}", str(path)) from error

    async def _append(self, name: str, array: StagedArray, data: memoryview) -> None:
        written = 0
        try:
            while written < data.nbytes:
                written += await self._files[name].write(data[written:])
        except OSError as error:
            raise StorageFailure(error.errno, f"write: {error.strerror}", array.file) from error
        array.size_bytes += data.nbytes
        self._unsaved_bytes += data.nbytes

    async def _save(self) -> None:
        upload = self.upload
        assert upload is not None
        async with upload.saving:
            sizes = {name: upload.arrays[name].size_bytes for name in self._files}
            try:
                await in_thread(upload.store, sizes)
            except StorageFailure:
                self._broken = True  # a second fsync would succeed, and tell a lie
                raise
        self._unsaved_bytes = 0


async def in_thread(work: Callable[..., Result], *arguments: Any) -> Result:
    """Return what `work` returns, done in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _new_array(upload: StagedUpload, head: pb.UploadRequest) -> StagedArray:
    if not 0 < len(head.array) <= _LONGEST_NAME:
        raise InvalidArgument(f"array: expected a name of 1 to {_LONGEST_NAME} letters, found {len(head.array)}")
    if len(upload.arrays) >= _MOST_ARRAYS:
        raise ResourceExhausted(f"upload {upload.id}: expected at most {_MOST_ARRAYS} arrays")
    dtype = numpy_dtype(head.dtype)
    check_shape("row_shape", head.row_shape)
    if not 0 < math.prod(head.row_shape) * dtype.itemsize <= _LARGEST_ROW:
        raise InvalidArgument(
            f"row_shape: expected rows of 1 to {_LARGEST_ROW} bytes, found {dtype} {list(head.row_shape)}"
        )
    return StagedArray(f"{len(upload.arrays):04d}.rows", dtype.str, tuple(head.row_shape), 0, 0)


def _check_place(upload: StagedUpload, head: pb.UploadRequest, array: StagedArray) -> None:
    """A chunk goes on where the array ends, with rows of the same kind."""
    name = f"upload {upload.id}: array {head.array!r}"
    if numpy_dtype(head.dtype).str != array.dtype or tuple(head.row_shape) != array.row_shape:
        raise InvalidArgument(
            f"{name}: expected rows of {np.dtype(array.dtype)} {list(array.row_shape)} throughout, found "
            f"{numpy_dtype(head.dtype)} {list(head.row_shape)}"
        )
    row, byte = divmod(array.size_bytes, array.row_bytes)
    if (head.start_row, head.start_byte) != (row, byte):
        raise InvalidArgument(
            f"{name}: expected to go on at row {row}, byte {byte}; found row {head.start_row}, byte {head.start_byte}"
        )


def _described(upload: StagedUpload) -> list[pb.UploadedArray]:
    found = []
    for name, array in upload.arrays.items():
        num_rows, rest = divmod(array.durable_bytes, array.row_bytes)
        found.append(
            pb.UploadedArray(
                array=name,
                dtype=wire_dtype(array.dtype),
                row_shape=array.row_shape,
                num_rows=num_rows,
                partial_bytes=rest,
            )
        )
    return found
