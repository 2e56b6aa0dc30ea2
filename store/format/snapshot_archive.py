"""The layout of a snapshot's archive: prefix, header, files. The page is docs/formats/snapshot.md.

Constants, pack and unpack only: `store/snapshots/` makes archives and reads them.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, OutcropError, UnsupportedFormat
from outcrop.store.format.block_file import BLOCK_BYTES
from outcrop.types import KINDS, Manifest, check_kind, check_name

MAGIC = b"OUTCSNAP"
VERSION = 1
PREFIX_BYTES = 64
# A manifest is at most 8 MiB and mostly a few KiB; whoever sends an archive must not choose how much memory it takes.
MAX_HEADER_BYTES = 64 << 20

# magic, version, CRC32C of the JSON, its length, size of the whole archive
_FIELDS = struct.Struct("<8sIIQQ")
_PREFIX_CRC = struct.Struct("<I")
_RESERVED = slice(_FIELDS.size, PREFIX_BYTES - _PREFIX_CRC.size)


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """One object with one version. spec: the engine's. manifest: as the version was committed; its object_id and
    version tell what other objects of the archive call it."""

    kind: str
    name: str
    spec: dict[str, Any]
    created_unix: float
    manifest: Manifest

    @property
    def title(self) -> str:
        """What messages call it: `graphs/papers`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """What an archive says of itself. name, created_unix: of the snapshot."""

    name: str
    created_unix: float
    objects: tuple[ArchivedObject, ...]


@dataclass(frozen=True, slots=True)
class ArchivePrefix:
    """The first 64 bytes. header_bytes: of the JSON behind them. size_bytes: of the whole archive."""

    header_crc: int
    header_bytes: int
    size_bytes: int

    @property
    def files_offset_bytes(self) -> int:
        """Where the files begin."""
        return -(-(PREFIX_BYTES + self.header_bytes) // BLOCK_BYTES) * BLOCK_BYTES


def pack_head(header: ArchiveHeader) -> bytes:
    """Return everything before the first file: prefix, header, zeros to a whole block.

    Equal headers give equal bytes. Raises InvalidArgument for more than 64 MiB.
    """
    fields = {
        "name": header.name,
        "created_unix": header.created_unix,
        "objects": [_object_fields(archived) for archived in header.objects],
    }
    text = json.dumps(fields, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER_BYTES:
        raise InvalidArgument(f"archive {header.name!r}: header of {len(text)} bytes, at most {MAX_HEADER_BYTES}")
    files_bytes = sum(archived.manifest.size_bytes for archived in header.objects)
    prefix = ArchivePrefix(native.crc32c(text), len(text), 0)
    size_bytes = prefix.files_offset_bytes + files_bytes
    body = _FIELDS.pack(MAGIC, VERSION, prefix.header_crc, len(text), size_bytes).ljust(_RESERVED.stop, b"\0")
    head = body + _PREFIX_CRC.pack(native.crc32c(body)) + text
    return head.ljust(prefix.files_offset_bytes, b"\0")


def unpack_prefix(data: bytes, name: str) -> ArchivePrefix:
    """Return what the first 64 bytes of the archive called `name` in messages say.

    Raises CorruptFile when they are no prefix, UnsupportedFormat for one of another version.
    """
    if len(data) < PREFIX_BYTES:
        raise CorruptFile(f"{name}: expected an archive of at least {PREFIX_BYTES} bytes, found {len(data)}")
    magic, version, header_crc, header_bytes, size_bytes = _FIELDS.unpack_from(data)
    if magic != MAGIC:
        raise CorruptFile(f"{name}: not a snapshot's archive: magic {magic!r}, expected {MAGIC!r}")
    found, (expected,) = native.crc32c(data[: _RESERVED.stop]), _PREFIX_CRC.unpack_from(data, _RESERVED.stop)
    if found != expected:
        raise CorruptFile(f"{name}: prefix: checksum 0x{found:08x}, expected 0x{expected:08x}")
    if version != VERSION:
        raise UnsupportedFormat(f"{name}: archive version {version}, this release reads version {VERSION}")
    if any(data[_RESERVED]):
        raise CorruptFile(f"{name}: prefix: reserved bytes {_RESERVED.start} to {_RESERVED.stop} are not zero")
    if header_bytes > MAX_HEADER_BYTES:
        raise CorruptFile(f"{name}: prefix: header of {header_bytes} bytes, at most {MAX_HEADER_BYTES}")
    return ArchivePrefix(header_crc, header_bytes, size_bytes)


def unpack_header(head: bytes, prefix: ArchivePrefix, name: str) -> ArchiveHeader:
    """Return the header. head: the archive's first `files_offset_bytes` bytes.

    Raises CorruptFile when it is damaged or says what cannot be: names that are none, an object twice, sizes that do
    not add up to the archive's.
    """
    end = PREFIX_BYTES + prefix.header_bytes
    text = head[PREFIX_BYTES:end]
    if len(head) != prefix.files_offset_bytes or native.crc32c(text) != prefix.header_crc:
        found = native.crc32c(text)
        raise CorruptFile(f"{name}: header: checksum 0x{found:08x}, expected 0x{prefix.header_crc:08x}")
    if any(head[end:]):
        raise CorruptFile(f"{name}: header: bytes {end} to {len(head)} are not zero")
    try:
        fields = json.loads(text)
        objects = tuple(_object(archived) for archived in fields["objects"])
        header = ArchiveHeader(check_name("snapshot", fields["name"]), float(fields["created_unix"]), objects)
    except (KeyError, TypeError, ValueError, RecursionError, OutcropError) as error:
        raise CorruptFile(f"{name}: header: {type(error).__name__}: {error}") from error
    _check_header(header, prefix, name)
    return header


def _object_fields(archived: ArchivedObject) -> dict[str, Any]:
    return {
        "kind": archived.kind,
        "name": archived.name,
        "spec": archived.spec,
        "created_unix": archived.created_unix,
        "manifest": archived.manifest.to_json(),
    }


def _object(fields: Mapping[str, Any]) -> ArchivedObject:
    kind = check_kind(fields["kind"])
    return ArchivedObject(
        kind,
        check_name(KINDS[kind], fields["name"]),
        dict(fields["spec"]),
        float(fields["created_unix"]),
        Manifest.from_json(fields["manifest"]),
    )


def _check_header(header: ArchiveHeader, prefix: ArchivePrefix, name: str) -> None:
    titles = [archived.title for archived in header.objects]
    if not titles or len(set(titles)) < len(titles):
        raise CorruptFile(f"{name}: header: expected objects, each once, found {titles}")
    sizes = [entry.size_bytes for archived in header.objects for entry in archived.manifest.files]
    if any(size < BLOCK_BYTES or size % BLOCK_BYTES for size in sizes):
        raise CorruptFile(f"{name}: header: a file whose size is no whole number of blocks")
    expected = prefix.files_offset_bytes + sum(sizes)
    if prefix.size_bytes != expected:
        raise CorruptFile(f"{name}: header: its files make {expected} bytes, the prefix says {prefix.size_bytes}")


def file_offsets(objects: Sequence[ArchivedObject], files_offset_bytes: int) -> dict[tuple[str, str], int]:
    """Return where each file begins in the archive, by its object's title and its name; in the order of the archive."""
    offsets, offset = {}, files_offset_bytes
    for archived in objects:
        for entry in archived.manifest.files:
            offsets[archived.title, entry.name] = offset
            offset += entry.size_bytes
    return offsets
