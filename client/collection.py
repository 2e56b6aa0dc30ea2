"""A collection of vectors that a server holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from outcrop.client.building import Input, build, build_options
from outcrop.client.channel import Channel
from outcrop.client.job import RemoteJob, begun, waited
from outcrop.client.rpcs import collections, indexes, vectors
from outcrop.client.rpcs.collections import Found
from outcrop.client.scan import Rebatched, Scan
from outcrop.stop import Stop
from outcrop.types import (
    CollectionInfo,
    CollectionStatistics,
    Manifest,
    Neighbors,
    Progress,
    VerifyReport,
    parse_bytes,
)


class Collection:
    """Vectors of one dimension and metric, in a server. It opens, keeps and refreshes them, so nothing of that is
    here."""

    def __init__(self, channel: Channel, found: Found) -> None:
        """Use `Database.collection`."""
        self.name = found.info.name
        self.id = found.id
        self.spec = found.info.spec
        self._found = found
        self._channel = channel

    def build(
        self,
        vectors: Any,
        ids: Any = None,
        *,
        memory: str | int = "1GiB",
        search_memory: str | int | None = None,
        threads: int | None = None,
        code: str = "auto",
        num_centroids: int | None = None,
        copies: int | None = None,
        copy_rule: str | None = None,
        calibration_queries: npt.ArrayLike | None = None,
        seed: int = 0,
    ) -> RemoteJob[Manifest]:
        """As `outcrop.embedded.Collection.build`: the vectors are uploaded, then the server builds from them, with at
        most the memory and threads that it grants. An upload or a build that broke off, even with this process, goes on
        when it is called again with the same arguments; only an iterable of batches begins anew."""
        options = build_options(memory, search_memory, threads, code, num_centroids, copies, copy_rule, seed)
        options = replace(options, calibration_queries=calibration_queries)
        given = Input(self._found, vectors, ids)
        return RemoteJob(
            f"build of {self.name}",
            self._channel,
            lambda control: build(self._found, given, options, threads, control),
        )

    def search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        *,
        recall: float | None = None,
        nprobe: int | None = None,
        rerank: int | None = None,
        exact: bool = False,
        threads: int | None = None,
        share_reads: bool = True,
        timeout: float | None = None,
        stop: Stop | None = None,
    ) -> Neighbors:
        """As `outcrop.embedded.Collection.search`. timeout: by default that of the connection. threads: nothing here,
        the server shares its own among its callers."""
        rpcs = vectors.searches(
            self.name,
            self.spec,
            queries,
            k,
            recall=recall,
            nprobe=nprobe,
            rerank=rerank,
            exact=exact,
            share_reads=share_reads,
        )
        if len(rpcs) > 1 and stop is None:
            stop, timeout = Stop(self._channel.endpoint.timeout if timeout is None else timeout), None
        return vectors.joined([self._channel.call(rpc, timeout, stop) for rpc in rpcs])

    def scan(
        self, batch_rows: int = 10_000, *, start_row: int = 0, version: int | None = None, stop: Stop | None = None
    ) -> Scan:
        """As `outcrop.embedded.Collection.scan`; a connection that breaks meanwhile is made again."""
        batches = Rebatched(batch_rows)
        export = vectors.Export(self.name, self.spec, start_row, version)
        return Scan(export, self._channel.stream(export, stop=stop), batches, start_row)

    def info(self) -> CollectionInfo:
        """Return what the collection is and holds now."""
        return self._channel.call(collections.get(self.name)).info

    def count(self) -> int:
        """Return how many vectors the current version holds."""
        return self._channel.call(vectors.count(self.name))

    def statistics(self) -> CollectionStatistics:
        """Return where the memory is, how the cache does, and what was read, in the process of the server that
        answers."""
        return self._channel.call(collections.statistics(self.name))

    def verify(
        self, *, memory: str | int = "256MiB", progress: Callable[[Progress], object] | None = None
    ) -> VerifyReport:
        """As `outcrop.embedded.Collection.verify`."""
        rpc = indexes.verify(self.name, parse_bytes(memory))
        job: RemoteJob[VerifyReport] = RemoteJob(
            f"verification of {self.name}", self._channel, lambda control: begun(rpc, control)
        )
        return waited(job, progress)

    def refresh(self) -> None:
        """Do nothing: a server always answers from the current version."""

    def close(self) -> None:
        """Do nothing: what is open is the server's, and shared."""
