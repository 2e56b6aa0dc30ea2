"""What the catalog says, in types: collections, manifests and jobs, as one transaction sees or changes them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from outcrop.errors import CorruptFile, NotFound
from outcrop.store.catalog import Catalog, Change, View
from outcrop.store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection. `id` names its folder and never changes; `spec` is the engine's; no version yet is None."""

    id: str
    name: str
    spec: dict[str, Any]
    created_unix: float
    current_version: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
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
    collection_id: str
    state: dict[str, Any]
    renamed_to: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "id": self.id,
            "collection_id": self.collection_id,
            "state": self.state,
            "renamed_to": self.renamed_to,
        }


class RecordView:
    """Typed reads of one transaction."""

    def __init__(self, view: View) -> None:
        self._view = view

    def find_collection(self, name: str) -> CollectionRecord | None:
        """Return a collection by name, or None."""
        fields = self._view.get("collections", name)
        return None if fields is None else _typed(CollectionRecord, fields)

    def collection(self, name: str) -> CollectionRecord:
        """Return a collection by name. Raises NotFound."""
        record = self.find_collection(name)
        if record is None:
            raise NotFound(f"no collection {name!r}")
        return record

    def collection_by_id(self, collection_id: str) -> CollectionRecord:
        """Return a collection by id. Raises NotFound."""
        for record in self.collections():
            if record.id == collection_id:
                return record
        raise NotFound(f"no collection with id {collection_id!r}")

    def collections(self) -> list[CollectionRecord]:
        """Return all collections, by name."""
        return [_typed(CollectionRecord, fields) for _, fields in self._view.scan("collections")]

    def find_manifest(self, collection_id: str, version: int) -> Manifest | None:
        """Return the manifest of a version, or None."""
        fields = self._view.get("manifests", _manifest_key(collection_id, version))
        return None if fields is None else _manifest(fields)

    def manifests(self, collection_id: str) -> list[Manifest]:
        """Return the manifests of a collection, oldest first."""
        return [_manifest(fields) for _, fields in self._view.scan("manifests", f"{collection_id}/")]

    def find_job(self, job_id: str) -> JobRecord | None:
        """Return a job, or None."""
        fields = self._view.get("jobs", job_id)
        return None if fields is None else _typed(JobRecord, fields)

    def jobs(self) -> list[JobRecord]:
        """Return all jobs, by id."""
        return [_typed(JobRecord, fields) for _, fields in self._view.scan("jobs")]


class RecordChange(RecordView):
    """Typed reads and writes of one transaction."""

    def __init__(self, change: Change) -> None:
        super().__init__(change)
        self._change = change

    def put_collection(self, record: CollectionRecord) -> None:
        """Write a collection under its name."""
        self._change.put("collections", record.name, record.to_json())

    def drop_collection(self, record: CollectionRecord) -> None:
        """Remove a collection, its manifests and its jobs."""
        self._change.delete("collections", record.name)
        for manifest in self.manifests(record.id):
            self.delete_manifest(record.id, manifest.version)
        for job in self.jobs():
            if job.collection_id == record.id:
                self.delete_job(job.id)

    def put_manifest(self, manifest: Manifest) -> None:
        """Write a manifest."""
        self._change.put("manifests", _manifest_key(manifest.collection_id, manifest.version), manifest.to_json())

    def delete_manifest(self, collection_id: str, version: int) -> None:
        """Remove a manifest; its folder is garbage from then on."""
        self._change.delete("manifests", _manifest_key(collection_id, version))

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


def _manifest_key(collection_id: str, version: int) -> str:
    return f"{collection_id}/{version:012d}"


def _typed(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise CorruptFile(f"catalog: {kind.__name__}: fields {sorted(fields)}: {error}") from error


def _manifest(fields: dict[str, Any]) -> Manifest:
    try:
        return Manifest.from_json(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"catalog: manifest with fields {sorted(fields)}: {error}") from error
