"""Where a snapshot's bytes are read from: the versions of a root that it pins, or an archive file."""

import contextlib
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from outcrop.errors import CorruptFile, InvalidArgument, NotFound, StorageFailure
from outcrop.store.format.snapshot_archive import (
    PREFIX_BYTES,
    ArchivedObject,
    ArchiveHeader,
    file_offsets,
    pack_head,
    unpack_header,
    unpack_prefix,
)
from outcrop.store.root import Root
from outcrop.store.snapshots.checked_file import CheckedFile, Read
from outcrop.types import FileEntry


class SnapshotSource(Protocol):
    """A snapshot that can be restored. etag: the SHA-256 of everything before the files, in hexadecimal: two sources
    have the same one exactly if they have the same bytes, as far as checksums tell."""

    header: ArchiveHeader
    etag: str

    def file(self, archived: ArchivedObject, entry: FileEntry) -> CheckedFile:
        """Open one file of an object. Raises CorruptFile, StorageFailure."""
        ...


class Extent(NamedTuple):
    """Bytes of a file, or of an archive's head, which has no path."""

    path: Path | None
    offset: int
    length: int


class SnapshotArchive:
    """A snapshot of a root as the bytes of its archive, none of which exists before it is read. A context manager: it
    keeps the pinned versions, also when the snapshot is deleted meanwhile. For any number of threads.

    size_bytes: of the archive. files_offset_bytes: where its files begin. etag: see `SnapshotSource`; it is the same
    each time that the snapshot is opened.
    """

    def __init__(self, root: Root, name: str) -> None:
        """Raises NotFound when there is no such snapshot, CorruptFile when a file is missing, StorageFailure."""
        snapshot = root.get_snapshot(name)
        with contextlib.ExitStack() as stack:
            leases = [stack.enter_context(root.open_pinned(pinned)) for pinned in snapshot.objects]
            self._held = stack.pop_all()
        objects = tuple(
            ArchivedObject(pinned.kind, pinned.name, pinned.spec, pinned.created_unix, lease.manifest)
            for pinned, lease in zip(snapshot.objects, leases, strict=True)
        )
        self.header = ArchiveHeader(snapshot.name, snapshot.created_unix, objects)
        self._head = pack_head(self.header)
        self.etag = hashlib.sha256(self._head).hexdigest()
        offsets = file_offsets(objects, len(self._head))
        self.files_offset_bytes = len(self._head)
        self._begins = list(offsets.values())
        self._paths = [lease.path(entry.name) for lease in leases for entry in lease.manifest.files]
        self._by_key = dict(zip(offsets, self._paths, strict=True))
        self.size_bytes = len(self._head) + sum(archived.manifest.size_bytes for archived in objects)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length) of the archive, fewer at its end, none behind it.

        The bytes are as they lie on disk: whoever restores them checks every block.
        Raises InvalidArgument for a negative offset or length, StorageFailure, CorruptFile for a file that was cut.
        """
        if offset < 0 or length < 0:
            raise InvalidArgument(f"archive: expected offset and length from 0, found {offset} and {length}")
        extents = self.extents(offset, offset + length)
        return b"".join(self._bytes_at(extent) for extent in extents)

    def extents(self, start: int, stop: int) -> Iterator[Extent]:
        """Yield where bytes [start, stop) of the archive lie, in order; those of the head lie in memory: `read`
        them."""
        stop = min(stop, self.size_bytes)
        if start < min(stop, self.files_offset_bytes):
            yield Extent(None, start, min(stop, self.files_offset_bytes) - start)
        start = max(start, self.files_offset_bytes)
        while start < stop:
            number = bisect_right(self._begins, start) - 1
            end = self._begins[number + 1] if number + 1 < len(self._begins) else self.size_bytes
            yield Extent(self._paths[number], start - self._begins[number], min(stop, end) - start)
            start = end

    def file(self, archived: ArchivedObject, entry: FileEntry) -> CheckedFile:
        """Open one file of an object. Raises CorruptFile, StorageFailure."""
        path = self._by_key[archived.title, entry.name]
        return CheckedFile(reader(path), entry, f"{archived.title}/{entry.name}")

    def close(self) -> None:
        """Let the versions go. Closing twice is allowed."""
        self._held.close()

    def __enter__(self) -> "SnapshotArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bytes_at(self, extent: Extent) -> bytes:
        if extent.path is None:
            return self._head[extent.offset : extent.offset + extent.length]
        return read_range(extent.path, extent.offset, extent.length)


class ArchiveFile:
    """An archive in a file, with its header checked. Holds nothing open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises NotFound, CorruptFile for what is no archive, or damaged, or cut, UnsupportedFormat,
        StorageFailure."""
        self.path = Path(path)
        try:
            found = self.path.stat().st_size
        except FileNotFoundError as error:
            raise NotFound(f"{self.path}: no such file") from error
        name = str(self.path)
        prefix = unpack_prefix(read_range(self.path, 0, min(found, PREFIX_BYTES)), name)
        if found != prefix.size_bytes:
            wrong = f"cut: {found} bytes of" if found < prefix.size_bytes else f"too long: {found} bytes, expected"
            raise CorruptFile(f"{name}: the archive is {wrong} {prefix.size_bytes}")
        head = read_range(self.path, 0, min(found, prefix.files_offset_bytes))
        self.header = unpack_header(head, prefix, name)
        self.etag = hashlib.sha256(head).hexdigest()
        self.size_bytes = prefix.size_bytes
        self._offsets = file_offsets(self.header.objects, prefix.files_offset_bytes)

    def file(self, archived: ArchivedObject, entry: FileEntry) -> CheckedFile:
        """Open one file of an object. Raises CorruptFile, StorageFailure."""
        begin = self._offsets[archived.title, entry.name]
        return CheckedFile(reader(self.path, begin), entry, f"{self.path}: {archived.title}/{entry.name}")


def read_range(path: Path, offset: int, length: int) -> bytes:
    """Return bytes of a file. Raises CorruptFile when it has fewer, StorageFailure."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, length, offset)
            while len(data) < length and (more := os.pread(descriptor, length - len(data), offset + len(data))):
                data += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageFailure(error.errno, f"read: {error.strerror}", str(path)) from error
    if len(data) < length:
        raise CorruptFile(f"{path}: ends at {offset + len(data)}, expected at least {offset + length} bytes")
    return data


def reader(path: Path, begin: int = 0) -> Read:
    """Return what reads the file that begins at `begin` of the file at `path`."""
    return lambda offset, length: read_range(path, begin + offset, length)
