"""A manifest lists what a version is made of: each file with its size and checksum, and properties of the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.errors import InvalidArgument, NotFound
from outcrop.types.names import check_file_kind, check_name

# A file that readers lock; it belongs to the folder of every version and so no block file may take its name.
LEASE_NAME = "lease"
FILE_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One immutable block file of a version.

    size_bytes: of the whole file. file_id: the 16 bytes in its header, so that a swapped file is noticed.
    checksum: the header's CRC32C, which covers the checksum table's and through it every block.
    """

    name: str
    kind: str
    size_bytes: int
    file_id: bytes
    checksum: int

    def __post_init__(self) -> None:
        check_name("file name", self.name)
        check_file_kind(self.kind)
        if self.name == LEASE_NAME or len(self.file_id) != FILE_ID_BYTES:
            raise InvalidArgument(f"{self.name}: not a file of a version: {self}")

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes: plain values for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "size_bytes": self.size_bytes,
            "file_id": self.file_id.hex(),
            "checksum": self.checksum,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "FileEntry":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for fields it did not write."""
        file_id = bytes.fromhex(fields["file_id"])
        return cls(fields["name"], fields["kind"], int(fields["size_bytes"]), file_id, int(fields["checksum"]))


@dataclass(frozen=True, slots=True)
class Manifest:
    """One committed version of an object. `properties` is JSON that belongs to the engine that wrote the version."""

    object_id: str
    version: int
    created_unix: float
    files: tuple[FileEntry, ...]
    properties: dict[str, Any]

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.files]
        if len(set(names)) != len(names):
            raise InvalidArgument(f"files of a version: a name appears twice in {sorted(names)}")

    @property
    def size_bytes(self) -> int:
        """The bytes of all files on disk."""
        return sum(entry.size_bytes for entry in self.files)

    def file(self, name: str) -> FileEntry:
        """Return the entry called `name`. Raises NotFound."""
        for entry in self.files:
            if entry.name == name:
                return entry
        raise NotFound(f"version {self.version} of {self.object_id} has no file {name!r}")

    def files_of_kind(self, kind: str) -> Sequence[FileEntry]:
        """Return the entries of one kind, in the order in which they were committed."""
        return [entry for entry in self.files if entry.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes: plain values for JSON."""
        return {
            "collection_id": self.object_id,
            "version": self.version,
            "created_unix": self.created_unix,
            "files": [entry.to_json() for entry in self.files],
            "properties": self.properties,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Manifest":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for fields it did not write."""
        return cls(
            fields["collection_id"],
            int(fields["version"]),
            float(fields["created_unix"]),
            tuple(FileEntry.from_json(entry) for entry in fields["files"]),
            dict(fields["properties"]),
        )
