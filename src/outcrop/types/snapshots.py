"""What callers see of snapshots."""

import os
from dataclasses import dataclass

from outcrop.types.reports import Problem

# The name of a snapshot, or where an archive lies: a path object, or text with a slash.
SnapshotOrPath = str | os.PathLike[str]


def is_archive_path(source: SnapshotOrPath) -> bool:
    """Whether a source is where an archive lies."""
    return not isinstance(source, str) or os.sep in source


@dataclass(frozen=True, slots=True)
class SnapshotObject:
    """A version that a snapshot keeps; kind and name are those that its object had then."""

    kind: str
    name: str
    version: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot. created_unix: the instant whose versions it keeps, in seconds. objects: by kind and name."""

    name: str
    created_unix: float
    objects: tuple[SnapshotObject, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all files; the versions that are still current share them with the snapshot."""
        return sum(each.size_bytes for each in self.objects)


@dataclass(frozen=True, slots=True)
class SnapshotReport:
    """What a verification of a snapshot or an archive found. The file of a problem is `kind/name/file`."""

    name: str
    num_objects: int
    size_bytes: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """An archive that was written. size_bytes: of the whole. etag: tells archives apart, 64 hexadecimal digits."""

    path: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class RestoredObject:
    """An object that is current again: which version of it that is now."""

    kind: str
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored, in the order of the snapshot."""

    objects: tuple[RestoredObject, ...]
