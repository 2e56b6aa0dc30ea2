"""What the catalog says of a snapshot: versions of one instant, pinned under a name. See docs/formats/catalog.md."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """One object of a snapshot, as it was then: it may have been dropped since. Its manifest stays in the catalog.

    size_bytes: of the version's files.
    """

    kind: str
    name: str
    id: str
    spec: dict[str, Any]
    created_unix: float
    version: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot. `objects` are in the order of their kinds and names; none is there twice."""

    name: str
    created_unix: float
    objects: tuple[PinnedVersion, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes: plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "SnapshotRecord":
        """The inverse of `to_json`. Raises KeyError or TypeError for fields it did not write."""
        objects = tuple(PinnedVersion(**pinned) for pinned in fields["objects"])
        return cls(fields["name"], fields["created_unix"], objects)


def pins_of(snapshots: Sequence[SnapshotRecord]) -> set[tuple[str, int]]:
    """Return (object id, version) of everything that these snapshots pin."""
    return {(pinned.id, pinned.version) for snapshot in snapshots for pinned in snapshot.objects}
