"""Where things are below a root. The page is docs/formats/root.md.

OUTCROP                         marker and format version; written last when a root is made
lock                            flock: begin a version, make or drop a collection, collect garbage: one at a time
catalog/                        data.mdb, seal, lock
collections/<id>/writer         flock: one writer for each collection; holds its process id as text
collections/<id>/v000007/       the block files of one version, and `lease`, which its readers lock
tmp/<id>.<job>/files, scratch   a version in the making
tmp/trash.<random>/             on its way out
"""

from dataclasses import dataclass
from pathlib import Path

from outcrop.store.manifest import LEASE_NAME

MARKER_NAME = "OUTCROP"


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
    def collections(self) -> Path:
        """The folder of the collections."""
        return self.root / "collections"

    @property
    def tmp(self) -> Path:
        """Everything that is not committed."""
        return self.root / "tmp"

    def collection(self, collection_id: str) -> Path:
        """The folder of one collection."""
        return self.collections / collection_id

    def writer_lock(self, collection_id: str) -> Path:
        """Held by the one writer of a collection."""
        return self.collection(collection_id) / "writer"

    def version(self, collection_id: str, version: int) -> Path:
        """The folder of one version."""
        return self.collection(collection_id) / f"v{version:06d}"

    def lease(self, collection_id: str, version: int) -> Path:
        """Held shared by the readers of a version."""
        return self.version(collection_id, version) / LEASE_NAME

    def work(self, collection_id: str, job: str) -> Path:
        """The folder of a version in the making."""
        return self.tmp / f"{collection_id}.{job}"


def version_number(folder_name: str) -> int | None:
    """Return 7 for `v000007`, None for what is not the folder of a version."""
    digits = folder_name[1:]
    if folder_name[:1] != "v" or len(digits) < 6 or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)
