"""Making a snapshot: which versions does it pin?"""

import time
from collections.abc import Callable, Sequence

from outcrop.errors import AlreadyExists, CorruptFile, InvalidArgument, NotFound
from outcrop.store.records import RecordChange, RecordView
from outcrop.store.snapshot_record import PinnedVersion, SnapshotRecord
from outcrop.types import KINDS, check_kind, check_name

# Given the view of the transaction that will pin them: kind and name of each object.
Chooser = Callable[[RecordView], Sequence[tuple[str, str]]]


def every_version(view: RecordView) -> list[tuple[str, str]]:
    """Choose all objects that have a version."""
    records = [record for kind in KINDS for record in view.objects(kind)]
    return [(record.kind, record.name) for record in records if record.current_version is not None]


def pin(change: RecordChange, name: str, choose: Chooser) -> SnapshotRecord:
    """Write a snapshot of the current versions of the chosen objects.

    Raises AlreadyExists, NotFound for a chosen object that has no version, InvalidArgument for one that is chosen twice
    and for none at all.
    """
    if change.find_snapshot(name):
        raise AlreadyExists(f"snapshot {name!r} exists; delete it first or choose another name")
    chosen = choose(change)
    if not chosen:
        raise InvalidArgument(f"snapshot {name!r}: expected at least one object with a version, found none")
    if len(set(chosen)) < len(chosen):
        raise InvalidArgument(f"snapshot {name!r}: an object is named twice in {sorted(chosen)}")
    order = {kind: number for number, kind in enumerate(KINDS)}
    ordered = sorted(chosen, key=lambda key: (order[check_kind(key[0])], key[1]))
    snapshot = SnapshotRecord(name, time.time(), tuple(_pinned(change, *key) for key in ordered))
    change.put_snapshot(snapshot)
    return snapshot


def _pinned(view: RecordView, kind: str, name: str) -> PinnedVersion:
    record = view.object(kind, check_name(KINDS[kind], name))
    if record.current_version is None:
        raise NotFound(f"{record.title} has no version yet: there is nothing to keep")
    manifest = view.find_manifest(record.id, record.current_version)
    if manifest is None:
        raise CorruptFile(f"catalog: {record.title}: its current version {record.current_version} has no manifest")
    return PinnedVersion(kind, name, record.id, record.spec, record.created_unix, manifest.version, manifest.size_bytes)
