"""A server's databases and what they hold, for code that blocks."""

import os
from types import TracebackType
from typing import Any

from outcrop.client.administration import Administration
from outcrop.client.channel import Channel
from outcrop.client.collection import Collection
from outcrop.client.endpoint import Endpoint, parse_endpoint
from outcrop.client.graph_database import GraphDatabase
from outcrop.client.job import RemoteJob, followed
from outcrop.client.rpcs import collections, jobs
from outcrop.client.rpcs.jobs import JobRecord
from outcrop.client.snapshots import Snapshots
from outcrop.types import CollectionInfo, CollectionSpec


class Database(GraphDatabase, Snapshots, Administration):
    """A root folder that a server has open; `outcrop.connect("grpc://…")` returns one. A context manager; for several
    threads, also after a fork; may be pickled. Methods, results and errors are those of `outcrop.embedded.Database`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Use `outcrop.connect`. Nothing is sent before the first call."""
        self._channel = Channel(endpoint)

    @property
    def endpoint(self) -> Endpoint:
        """Where the server is."""
        return self._channel.endpoint

    def create_collection(
        self, name: str, *, dim: int, metric: str = "l2", dtype: str = "float32", id_type: str = "int64"
    ) -> Collection:
        """Make an empty collection of vectors of dimension `dim`.

        metric: l2, ip or cosine. dtype: of the stored vectors (float32, float16, uint8, int8). id_type: int64 or
        string. Raises InvalidArgument, AlreadyExists.
        """
        spec = CollectionSpec(dim, metric, dtype, id_type)
        return Collection(self._channel, self._channel.call(collections.create(name, spec)))

    def collection(self, name: str) -> Collection:
        """Return a collection by its name. Raises NotFound."""
        return Collection(self._channel, self._channel.call(collections.get(name)))

    def collection_names(self) -> list[str]:
        """Return the names of all collections that the key may see, sorted."""
        return self._channel.call(collections.names())

    def list_collections(self) -> list[CollectionInfo]:
        """Return all collections that the key may see, by name."""
        return self._channel.call(collections.infos())

    def drop_collection(self, name: str) -> None:
        """Remove a collection. Searches under way end as they began. Raises NotFound."""
        self._channel.call(collections.drop(name))

    def list_jobs(self, *, ended: bool = False) -> list[JobRecord]:
        """Return the jobs of the server about what the key may see, newest first. ended: also those."""
        return self._channel.call(jobs.listed(ended))

    def job(self, job_id: str) -> RemoteJob[Any]:
        """Return a job of the server by its `id`, to wait for it or to cancel it; whoever began it. Raises NotFound."""
        found = self._channel.call(jobs.get(job_id))
        return RemoteJob(f"{found.kind} {found.id}", self._channel, lambda control: followed(job_id, control))

    def close(self) -> None:
        """End the connection. Jobs of the server go on."""
        self._channel.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(url: str | os.PathLike[str], **options: Any) -> Database:
    """Return the database at a URL. options: of `parse_endpoint`."""
    return Database(parse_endpoint(os.fspath(url), **options))
