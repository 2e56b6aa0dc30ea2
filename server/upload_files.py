"""Arrays on their way, as they lie on disk. The page is docs/formats/service.md."""

import asyncio
import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog

from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure, UnsupportedFormat
from outcrop.store import os_calls
from outcrop.store.format.record import pack_record, unpack_record
from outcrop.types import AnyArray

FORMAT = 1
_RECORD = "upload"


@dataclass(slots=True)
class StagedArray:
    """One array of an upload. file: its name in the upload's folder. size_bytes: received. durable_bytes: of them, what
    survives a crash. busy: a stream appends to it."""

    file: str
    dtype: str
    row_shape: tuple[int, ...]
    durable_bytes: int
    size_bytes: int
    busy: bool = False

    @property
    def row_bytes(self) -> int:
        """Of one row, more than 0."""
        return math.prod(self.row_shape) * np.dtype(self.dtype).itemsize


@dataclass(slots=True)
class StagedUpload:
    """The arrays of one upload. holds: the jobs that need it. used_unix: when something happened to it last. saving:
    held by who stores."""

    folder: Path
    id: str
    owner: str
    used_unix: float
    arrays: dict[str, StagedArray] = field(default_factory=dict)
    holds: int = 0
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def busy(self) -> bool:
        """Whether something is appended to it."""
        return any(array.busy for array in self.arrays.values())

    @property
    def size_bytes(self) -> int:
        """Of all its arrays."""
        return sum(array.size_bytes for array in self.arrays.values())

    def store(self, sizes: Mapping[str, int]) -> None:
        """Make arrays durable, of these sizes in bytes; the others stay as they are. One at a time, in any thread.

        Raises StorageFailure. Then nobody knows what of these arrays will be on the disk: what is received of them
        must be cut off.
        """
        for name in sizes:
            _sync(self.folder / self.arrays[name].file)
        self.used_unix = time.time()
        durable = {name: array.durable_bytes for name, array in list(self.arrays.items())} | dict(sizes)
        arrays = {
            name: [array.file, array.dtype, array.row_shape, durable[name]]
            for name, array in list(self.arrays.items())
            if name in durable
        }
        fields = {"format": FORMAT, "id": self.id, "owner": self.owner, "arrays": arrays, "used_unix": self.used_unix}
        os_calls.write_small(self.folder / _RECORD, pack_record(fields), mode=0o600)
        os_calls.sync_folder(self.folder)
        for name, size in sizes.items():
            self.arrays[name].durable_bytes = size


@dataclass(frozen=True, slots=True)
class Upload:
    """What was uploaded, for a job to read."""

    id: str
    folder: Path
    arrays: Mapping[str, StagedArray]

    def array(self, name: str) -> AnyArray:
        """Return an array, memory-mapped read-only. Raises InvalidArgument for a missing or incomplete one."""
        staged = self._staged(name)
        num_rows, rest = divmod(staged.durable_bytes, staged.row_bytes)
        if rest:
            raise InvalidArgument(
                f"upload {self.id}: array {name!r}: expected whole rows of {staged.row_bytes} bytes, found {num_rows} "
                f"and {rest} bytes of another one"
            )
        shape = (num_rows, *staged.row_shape)
        if not num_rows:
            return np.empty(shape, staged.dtype)
        return np.memmap(self.folder / staged.file, staged.dtype, "r", shape=shape)

    def path(self, name: str) -> Path:
        """Return where the bytes of an array lie. Raises InvalidArgument for a missing one."""
        return self.folder / self._staged(name).file

    def texts(self, prefix: str) -> list[str]:
        """Return texts, uploaded as PREFIX_bytes, uint8, and PREFIX_offsets, int64 [n + 1], where each begins and the
        last one ends. Raises InvalidArgument."""
        offsets, data = self.array(f"{prefix}_offsets"), self.array(f"{prefix}_bytes")
        if offsets.dtype != np.int64 or offsets.ndim != 1 or data.dtype != np.uint8 or data.ndim != 1:
            raise InvalidArgument(f"upload {self.id}: expected {prefix}_offsets int64 [n + 1] and {prefix}_bytes uint8")
        ends = np.array([0]) if not len(offsets) else offsets
        if ends[0] != 0 or ends[-1] != len(data) or (np.diff(ends) < 0).any():
            raise InvalidArgument(
                f"upload {self.id}: {prefix}_offsets: expected numbers that ascend from 0 to {len(data)}"
            )
        whole = data.tobytes()
        try:
            return [whole[begin:end].decode() for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"upload {self.id}: {prefix}_bytes: expected UTF-8: {error}") from error

    def _staged(self, name: str) -> StagedArray:
        staged = self.arrays.get(name)
        if staged is None:
            names = ", ".join(sorted(self.arrays)) or "none"
            raise InvalidArgument(f"upload {self.id}: expected an array {name!r}, found {names}")
        return staged


def folder_name(upload_id: str, owner: str) -> str:
    """Return the name of the folder of an upload: ids are the owner's own."""
    return f"{hashlib.sha256(owner.encode()).hexdigest()[:16]}.{upload_id}"


def begin_upload(parent: Path, upload_id: str, owner: str) -> StagedUpload:
    """Make the folder of a new upload. Raises StorageFailure."""
    upload = StagedUpload(parent / folder_name(upload_id, owner), upload_id, owner, time.time())
    os_calls.make_folder(upload.folder)
    upload.store({})
    os_calls.sync_folder(parent)
    return upload


def load_uploads(parent: Path) -> Iterator[StagedUpload]:
    """Yield what earlier processes have received. What they were removing, and what cannot be read, is removed: its
    owner begins it anew."""
    for folder in sorted(parent.iterdir()):
        try:
            if folder.name.startswith("."):
                os_calls.remove_tree(folder)
            else:
                yield _read(folder)
        except (CorruptFile, UnsupportedFormat) as error:
            structlog.get_logger("outcrop.uploads").warning("upload removed", error=str(error))
            os_calls.remove_tree(folder)


def remove_upload(upload: StagedUpload) -> None:
    """Remove an upload; after a crash it is there or not. Raises StorageFailure."""
    ended = upload.folder.with_name(f".{upload.folder.name}")
    os_calls.rename(upload.folder, ended)
    os_calls.sync_folder(upload.folder.parent)
    os_calls.remove_tree(ended)


def _read(folder: Path) -> StagedUpload:
    path = folder / _RECORD
    try:
        fields = unpack_record(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise CorruptFile(f"{path}: expected a file, found none") from error
    except OSError as error:
        raise StorageFailure(error.errno, f"read: {error.strerror}", str(path)) from error
    if fields.get("format") != FORMAT:
        raise UnsupportedFormat(f"{path}: this release reads format {FORMAT}; upgrade outcrop")
    try:
        upload = StagedUpload(folder, fields["id"], fields["owner"], fields["used_unix"])
        for name, (file, dtype, row_shape, size) in fields["arrays"].items():
            upload.arrays[name] = StagedArray(file, dtype, tuple(row_shape), size, size)
            if size and (folder / file).stat().st_size < size:
                raise CorruptFile(f"{folder / file}: expected at least {size} bytes")
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise CorruptFile(f"{path}: not an upload: {error!r}") from error
    return upload


def _sync(path: Path) -> None:
    with os_calls.step("fsync", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
