"""Where things are below a root. The page is docs/formats/root.md.

OUTCROP                         marker and format version; written last when a root is made
lock                            flock: begin a version, make or drop an object, collect garbage: one at a time
catalog/                        data.mdb, seal, lock
<kind>/<id>/writer              flock: one writer for each object; holds its process id as text
<kind>/<id>/v000007/            the block files of one version, and `lease`, which its readers lock
tmp/<id>.<job>/files, scratch   a version in the making
tmp/trash.<random>/             on its way out
service/                        a server's own: jobs, uploads, keys; nothing of it belongs to the store

A kind is one of `types.KINDS`; its folder is made with its first version. No two objects have one id, whatever their
kinds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outcrop.types import KINDS, LEASE_NAME

MARKER_NAME = "OUTCROP"
SERVICE_FOLDER = "service"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one root."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file that makes a folder a root."""
        return self.root / MARKER_NAME

    @property
    def lock(self) -> Path:
        """Serialises what changes which folders exist."""
        return self.root / "lock"

    @property
    def catalog(self) -> Path:
        """The folder of the catalog."""
        return self.root / "catalog"

    @property
    def tmp(self) -> Path:
        """Everything that is not committed."""
        return self.root / "tmp"

    def kind(self, kind: str) -> Path:
        """The folder of the objects of one kind, which may not be there yet."""
        assert kind in KINDS
        return self.root / kind

    def object(self, kind: str, object_id: str) -> "ObjectLayout":
        """The paths of one object."""
        return ObjectLayout(self.kind(kind) / object_id)

    def objects(self) -> Iterator["ObjectLayout"]:
        """The paths of all objects that have a folder, in order."""
        for kind in KINDS:
            if self.kind(kind).is_dir():
                yield from (ObjectLayout(folder) for folder in sorted(self.kind(kind).iterdir()))

    def work(self, object_id: str, job: str) -> Path:
        """The folder of a version in the making."""
        return self.tmp / f"{object_id}.{job}"


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """The paths below the folder of one object."""

    folder: Path

    @property
    def id(self) -> str:
        """The object's id."""
        return self.folder.name

    @property
    def writer_lock(self) -> Path:
        """Held by the one writer of the object."""
        return self.folder / "writer"

    def version(self, version: int) -> Path:
        """The folder of one version."""
        return self.folder / f"v{version:06d}"

    def lease(self, version: int) -> Path:
        """Held shared by the readers of a version."""
        return self.version(version) / LEASE_NAME


def version_number(folder_name: str) -> int | None:
    """Return 7 for `v000007`, None for what is not the folder of a version."""
    digits = folder_name[1:]
    if folder_name[:1] != "v" or len(digits) < 6 or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)
