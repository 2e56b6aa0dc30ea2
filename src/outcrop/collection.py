"""Collections of vectors in this process: building, searching and verifying them."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from outcrop.ann import (
    LARGEST_RANGE_BUFFER,
    Builder,
    BuildOptions,
    CollectionSpec,
    Index,
    Scan,
    VerifyReport,
    verify_index,
)
from outcrop.ann.strings import read_strings
from outcrop.connection import Connection
from outcrop.current_version import CurrentVersion, OpenVersion
from outcrop.errors import CorruptFile, InvalidArgument, NotFound
from outcrop.jobs import Job
from outcrop.stop import Stop, check, stop_of
from outcrop.store import (
    Accountant,
    Manifest,
    Problem,
    StorageReader,
    VersionLease,
    parse_bytes,
    verify_version,
)
from outcrop.types import CollectionInfo, CollectionStatistics, Neighbors, Progress


class Collection:
    """Vectors of one dimension and metric. Opens its current version at the first search and keeps it until
    `refresh`."""

    def __init__(self, connection: Connection, name: str, collection_id: str, spec: dict[str, Any]) -> None:
        """Use `Database.collection`."""
        self.name = name
        self.id = collection_id
        self.spec = CollectionSpec.from_json(spec)
        self._connection = connection
        self._root = connection.root
        self._current = CurrentVersion(connection, name, collection_id, self.spec)

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
    ) -> Job[Manifest]:
        """Build a new version from all vectors and return the job; the old version stays readable until it is there.

        vectors: an array [n, dim], a memory map, what `outcrop.datasets.vectors.open_vectors` returns, or an iterable
        of batches. ids: int64 [n] (non-negative) or n strings; None numbers the vectors.
        memory: for the build's arrays. search_memory: what search will be given, from which the number of centroids and
        copies follows; by default 8 MiB or 5 % of the raw vectors. The rest is for experts: `outcrop.ann.BuildOptions`.
        A killed or cancelled build resumes when it is called again with the same arguments.
        Raises InvalidArgument before any work; the job raises InvalidArgument naming the first bad row, Unavailable
        when another process builds this collection, StorageFailure, Cancelled.
        """
        options = BuildOptions(
            memory_bytes=parse_bytes(memory),
            search_memory_bytes=None if search_memory is None else parse_bytes(search_memory),
            num_threads=threads or self._connection.threads,
            code=code,
            num_centroids=num_centroids,
            copies=copies,
            copy_rule=copy_rule,
            seed=seed,
            calibration_queries=calibration_queries,
        )
        builder = Builder(self.spec, vectors, ids, options, self._connection.reader)

        def work(report: Any) -> Manifest:
            with self._root.begin_version(self.id, builder.job_id(self.id)) as writer:
                try:
                    manifest = builder.run(writer, report)
                except InvalidArgument:
                    writer.abort()  # the same call would only fail again
                    raise
            self.refresh()
            self._connection.forget_jobs(self.id)
            self._root.gc()
            report(Progress("done", 1.0, 0.0))
            return manifest

        return Job(f"build of {self.name}", work)

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
        """Return the k nearest stored vectors of each query, nearest first, with what the search cost.

        queries: one [dim] or many [n, dim], of any numeric dtype. k: 1 to 16,384.
        recall: the share of the true neighbours to find on average, 0.95 by default; the build has measured what it
        takes. nprobe, rerank: instead of recall, for experts: posting lists to probe; candidates whose raw vectors are
        read (0: distances are those of the codes). exact: compare with every vector, from disk.
        threads: at most those of the connection. share_reads: whether queries of one call share reads.
        timeout: seconds the call may take; stop: instead of it, also to cancel the call from another thread. Reads end
        with either, and the collection is as good as before.
        Raises InvalidArgument, NotFound before the first build, CorruptFile, StorageFailure, ResourceExhausted,
        DeadlineExceeded, Cancelled.
        """
        stop = stop_of(timeout, stop)
        with self._current.using(stop) as opened:
            found = opened.index.search(
                queries,
                k,
                recall=recall,
                nprobe=nprobe,
                rerank=rerank,
                exact=exact,
                threads=threads,
                share_reads=share_reads,
                stop=stop,
            )
            if self.spec.id_type == "int64":
                return found
            file = opened.index.file("strings.blk")
            strings = read_strings(file, opened.index.num_rows, found.ids, stop)  # type: ignore[arg-type]
        return Neighbors(strings, found.distances, found.usage, found.exact_distances, found.latency_us)

    def scan(
        self, batch_rows: int = 10_000, *, start_row: int = 0, version: int | None = None, stop: Stop | None = None
    ) -> Scan:
        """Iterate over all vectors of the current version: (ids, vectors) of `batch_rows` each, of the last fewer.

        ids: int64 [n], or an object array of text. vectors: [n, dim] in the collection's dtype, as they were given:
        what a code rounds is stored beside it. Lost is only what the collection does not store: the lengths of vectors
        under cosine, and digits that its dtype lacks. The order is that of the version's rows, which differs from the
        input's and from other versions'. Arrays are the caller's; beside them a scan needs 1 MiB, or the longest list.
        start_row: to go on where a scan of the same version ended (its `row`). version: the one that must be the open
        one. stop: ends the scan between reads. Every block is checked; `statistics` counts the reads.
        The version stays open until the scan ends or is closed: use `with` where it may be left early.
        Raises InvalidArgument, NotFound before the first build or when `version` is not the open one; the iteration
        raises CorruptFile, StorageFailure, DeadlineExceeded, Cancelled.
        """
        check(stop)
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(self._current.using(stop))
            if version not in (None, opened.version):
                raise NotFound(
                    f"collection {self.name!r}: version {version} is not the open one, which is {opened.version}"
                )
            return Scan(opened.index, opened.version, batch_rows, start_row, stop, stack)

    def info(self) -> CollectionInfo:
        """Return what the collection is and holds now."""
        try:
            with self._root.open_version(self.id) as lease:
                manifest = lease.manifest
        except NotFound:
            return CollectionInfo(self.name, self.spec, None, 0, 0, {}, {})
        return CollectionInfo(
            self.name,
            self.spec,
            manifest.version,
            manifest.properties["num_rows"],
            manifest.size_bytes,
            manifest.properties,
            {entry.name: entry.size_bytes for entry in manifest.files},
        )

    def count(self) -> int:
        """Return how many vectors the current version holds."""
        return self.info().num_rows

    def statistics(self) -> CollectionStatistics:
        """Return where the memory is, how the cache does, and what was read."""
        with self._current.using() as opened:
            return _statistics(opened)

    def _statistics_if_open(self) -> CollectionStatistics | None:
        with self._current.using_if_open() as opened:
            return None if opened is None else _statistics(opened)

    def verify(
        self, *, memory: str | int = "256MiB", progress: Callable[[Progress], object] | None = None
    ) -> VerifyReport:
        """Read every byte of the current version and report all that is wrong with it.

        First every checksum; then, when those are right, that every vector can be found: each row is primary in
        exactly one list, ids occur once, copies agree, counts and bounds are true. memory: for reading and sorting;
        about 30 bytes per entry go to a temporary folder. progress: called with how far it is.
        Raises NotFound before the first build, StorageFailure, ResourceExhausted, UnsupportedFormat.
        """
        report = progress or (lambda _: None)
        try:
            lease = self._root.open_version(self.id)
        except CorruptFile as error:
            return VerifyReport(self.name, None, 0, 0, 0, 0, False, (Problem("version", None, str(error)),))
        with lease, tempfile.TemporaryDirectory(prefix="outcrop-verify-") as scratch:
            manifest = lease.manifest
            budget = Accountant(parse_bytes(memory))
            with StorageReader(budget, self._connection.reader, buffer_bytes=LARGEST_RANGE_BUFFER) as reader:
                total = max(1, manifest.size_bytes)
                tick = lambda done: report(Progress("checksums", 0.5 * done / total, None))  # noqa: E731
                problems = list(verify_version(lease, reader, tick))
                checked = not problems
                if checked:
                    tick = lambda done: report(Progress("lists", 0.5 + 0.5 * done, None))  # noqa: E731
                    problems = self._list_problems(lease, reader, Path(scratch), tick)
            return VerifyReport(
                self.name,
                manifest.version,
                manifest.properties["num_rows"],
                manifest.properties["num_entries"],
                len(manifest.files),
                manifest.size_bytes,
                checked,
                tuple(problems),
            )

    def _list_problems(
        self, lease: VersionLease, reader: StorageReader, scratch: Path, tick: Callable[[float], object]
    ) -> list[Problem]:
        files = {entry.name: entry for entry in lease.manifest.files}
        problems: list[Problem] = []
        try:
            with (
                Index(self.spec, lease.manifest.properties, files, lease.folder, reader, 1, cache=False) as index,
                reader.open(lease.path("centroids.blk"), files["centroids.blk"]) as centroids,
            ):
                memory_bytes = max(1 << 20, reader.memory.statistics().available_bytes)
                problems.extend(verify_index(index, centroids, scratch, memory_bytes, tick))
        except CorruptFile as error:
            problems.append(Problem("version", None, str(error)))
        return problems

    def clear_cache(self) -> None:
        """Forget cached lists, as after opening: for measurements of the empty cache."""
        with self._current.using() as opened:
            opened.index.clear_cache()

    def open(self) -> Index:
        """Open the current version now instead of at the first search, and return its index, which is good until
        `refresh` or `close`."""
        with self._current.using() as opened:
            return opened.index

    def refresh(self) -> None:
        """Let the next search open the version that is current then."""
        self.close()

    def is_current(self) -> bool:
        """Whether the version that is open, if there is one, is the current one of a collection that still exists.

        Sees what other processes commit; costs some 10 us."""
        return self._current.is_current()

    def catch_up(self) -> bool:
        """Refresh if what is open is not current, and return whether it was: for callers that follow the builds of
        other processes. Searches under way end with the version that they began with."""
        return self._current.catch_up()

    def close(self) -> None:
        """Give the version and its memory back, once the searches that work with it have ended. The next search opens
        the current version."""
        self._current.close()


def statistics_if_open(collection: Collection) -> CollectionStatistics | None:
    """Return `collection.statistics()`, or None while no version is open: for observers, which must open nothing."""
    return collection._statistics_if_open()


def _statistics(opened: OpenVersion) -> CollectionStatistics:
    reader = opened.reader
    return CollectionStatistics(reader.memory.statistics(), opened.index.statistics(), reader.statistics())
