"""What the catalog says, in types: objects, manifests, jobs and snapshots, as one transaction sees or changes them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from outcrop.errors import CorruptFile, NotFound
from outcrop.store.catalog import Catalog, Change, View
from outcrop.store.snapshot_record import SnapshotRecord, pins_of
from outcrop.types import KINDS, Manifest


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A collection, a graph, ... (`types.KINDS`). `id` names its folder and never changes; `spec` is the engine's; no
    version yet is None."""

    kind: str
    id: str
    name: str
    spec: dict[str, Any]
    created_unix: float
    current_version: int | None

    @property
    def title(self) -> str:
        """What messages call it: `collection 'photos'`."""
        return f"{KINDS[self.kind]} {self.name!r}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; the kind is the table that holds them."""
        return {
            "id": self.id,
            "name": self.name,
            "spec": self.spec,
            "created_unix": self.created_unix,
            "current_version": self.current_version,
        }


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Work that outlives a process. `state` is the engine's.

    renamed_to: the version whose folder the work was about to become when it last tried to commit.
    """

    id: str
    object_id: str
    state: dict[str, Any]
    renamed_to: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "id": self.id,
            "collection_id": self.object_id,
            "state": self.state,
            "renamed_to": self.renamed_to,
        }


class RecordView:
    """Typed reads of one transaction."""

    def __init__(self, view: View) -> None:
        self._view = view

    def find_object(self, kind: str, name: str) -> ObjectRecord | None:
        """Return an object by name, or None."""
        fields = self._view.get(kind, name)
        return None if fields is None else _typed(ObjectRecord, fields | {"kind": kind})

    def object(self, kind: str, name: str) -> ObjectRecord:
        """Return an object by name. Raises NotFound."""
        record = self.find_object(kind, name)
        if record is None:
            raise NotFound(f"no {KINDS[kind]} {name!r}")
        return record

    def find_object_by_id(self, object_id: str) -> ObjectRecord | None:
        """Return an object by id, or None."""
        return next((record for kind in KINDS for record in self.objects(kind) if record.id == object_id), None)

    def object_by_id(self, object_id: str) -> ObjectRecord:
        """Return an object by id. Raises NotFound."""
        record = self.find_object_by_id(object_id)
        if record is None:
            raise NotFound(f"nothing has the id {object_id!r}")
        return record

    def objects(self, kind: str) -> list[ObjectRecord]:
        """Return all objects of a kind, by name."""
        return [_typed(ObjectRecord, fields | {"kind": kind}) for _, fields in self._view.scan(kind)]

    def find_manifest(self, object_id: str, version: int) -> Manifest | None:
        """Return the manifest of a version, or None."""
        fields = self._view.get("manifests", _manifest_key(object_id, version))
        return None if fields is None else _manifest(fields)

    def manifests(self, object_id: str) -> list[Manifest]:
        """Return the manifests of an object, oldest first."""
        return [_manifest(fields) for _, fields in self._view.scan("manifests", f"{object_id}/")]

    def all_manifests(self) -> list[Manifest]:
        """Return the manifests of all versions, those of dropped objects too that a snapshot pins."""
        return [_manifest(fields) for _, fields in self._view.scan("manifests")]

    def find_snapshot(self, name: str) -> SnapshotRecord | None:
        """Return a snapshot, or None."""
        fields = self._view.get("snapshots", name)
        return None if fields is None else _snapshot(fields)

    def snapshot(self, name: str) -> SnapshotRecord:
        """Return a snapshot. Raises NotFound."""
        found = self.find_snapshot(name)
        if found is None:
            raise NotFound(f"no snapshot {name!r}")
        return found

    def snapshots(self) -> list[SnapshotRecord]:
        """Return all snapshots, by name."""
        return [_snapshot(fields) for _, fields in self._view.scan("snapshots")]

    def find_job(self, job_id: str) -> JobRecord | None:
        """Return a job, or None."""
        fields = self._view.get("jobs", job_id)
        return None if fields is None else _job(fields)

    def jobs(self) -> list[JobRecord]:
        """Return all jobs, by id."""
        return [_job(fields) for _, fields in self._view.scan("jobs")]


class RecordChange(RecordView):
    """Typed reads and writes of one transaction."""

    def __init__(self, change: Change) -> None:
        super().__init__(change)
        self._change = change

    def put_object(self, record: ObjectRecord) -> None:
        """Write an object under its name."""
        self._change.put(record.kind, record.name, record.to_json())

    def drop_object(self, record: ObjectRecord) -> None:
        """Remove an object, its manifests that no snapshot pins, and its jobs."""
        self._change.delete(record.kind, record.name)
        pins = pins_of(self.snapshots())
        for manifest in self.manifests(record.id):
            if (record.id, manifest.version) not in pins:
                self.delete_manifest(record.id, manifest.version)
        for job in self.jobs():
            if job.object_id == record.id:
                self.delete_job(job.id)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest."""
        self._change.put("manifests", _manifest_key(manifest.object_id, manifest.version), manifest.to_json())

    def delete_manifest(self, object_id: str, version: int) -> None:
        """Remove a manifest; its folder is garbage from then on."""
        self._change.delete("manifests", _manifest_key(object_id, version))

    def put_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Write a snapshot."""
        self._change.put("snapshots", snapshot.name, snapshot.to_json())

    def delete_snapshot(self, snapshot: SnapshotRecord) -> None:
        """Remove a snapshot, and the manifests of dropped objects that only it has kept."""
        self._change.delete("snapshots", snapshot.name)
        alive = {record.id for kind in KINDS for record in self.objects(kind)}
        for object_id, version in pins_of([snapshot]) - pins_of(self.snapshots()):
            if object_id not in alive:
                self.delete_manifest(object_id, version)

    def put_job(self, job: JobRecord) -> None:
        """Write a job."""
        self._change.put("jobs", job.id, job.to_json())

    def delete_job(self, job_id: str) -> None:
        """Remove a job that may be missing."""
        self._change.delete("jobs", job_id)


class Records:
    """Opens typed transactions on a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @contextlib.contextmanager
    def read(self) -> Iterator[RecordView]:
        """A consistent view; see Catalog.read."""
        with self._catalog.read() as view:
            yield RecordView(view)

    @contextlib.contextmanager
    def write(self) -> Iterator[RecordChange]:
        """A transaction; see Catalog.write."""
        with self._catalog.write() as change:
            yield RecordChange(change)

    def sweep(self) -> None:
        """Remove what a dead writer left beside the catalog."""
        self._catalog.sweep()


def _manifest_key(object_id: str, version: int) -> str:
    return f"{object_id}/{version:012d}"


def _job(fields: dict[str, Any]) -> JobRecord:
    renamed = {"object_id" if name == "collection_id" else name: value for name, value in fields.items()}
    job: JobRecord = _typed(JobRecord, renamed)
    return job


def _typed(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise CorruptFile(f"catalog: {kind.__name__}: fields {sorted(fields)}: {error}") from error


def _snapshot(fields: dict[str, Any]) -> SnapshotRecord:
    try:
        return SnapshotRecord.from_json(fields)
    except (KeyError, TypeError) as error:
        raise CorruptFile(f"catalog: snapshot with fields {sorted(fields)}: {error}") from error


def _manifest(fields: dict[str, Any]) -> Manifest:
    try:
        return Manifest.from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"catalog: manifest with fields {sorted(fields)}: {error}") from error
