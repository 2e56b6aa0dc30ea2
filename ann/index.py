"""An open version of an index: what search keeps in memory, and search itself.

The memory budget holds, in this order: the centroid index, the directory and the files' checksum tables; buffers for
reads in flight, per thread; and with what is left a cache of posting lists by measured frequency.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.ann import codes
from outcrop.ann.answers import joined, usage_of
from outcrop.ann.centroid_index import CentroidIndex
from outcrop.ann.directory import Directory, unpack
from outcrop.ann.edge import query_rows
from outcrop.ann.exact import search_exact
from outcrop.ann.index_memory import BUFFER_SHARE, MOST_BUFFER_BYTES
from outcrop.ann.policy import Policy, PolicyTable
from outcrop.ann.workers import Workers, single_threaded_faiss
from outcrop.errors import InvalidArgument
from outcrop.stop import Stop, check, words_of
from outcrop.store import DeviceModel, FileEntry, Reservation, StorageReader, StoredFile
from outcrop.types import (
    MOST_K,
    CollectionSpec,
    Float32Array,
    IndexStatistics,
    Int64Array,
    Neighbors,
    UInt8Array,
    check_count,
    check_k,
)

# Queries of one call are searched in parts of at most this many (query, probe) pairs, 8 bytes each.
_MOST_PROBES = 1 << 18
_MOST_QUERIES_PER_GROUP = 64
# What the candidates of a thread's queries in flight may take: with a large k or rerank there are fewer such queries.
_SELECTION_BYTES = 1 << 20
_BYTES_PER_CANDIDATE = 48
# Fewer queries are not worth handing their centroid search to other threads.
_FEWEST_QUERIES_PER_THREAD = 16
# Policies by what was asked for.
_MOST_REMEMBERED = 1024
# The files of a version that search opens; centroids.blk is for `verify`, and for updates to come.
_FILES_READ = ("postings.blk", "directory.blk", "centroid_index.blk", "vectors.blk", "row_ids.blk", "strings.blk")


class Index:
    """One version, open for search. Any number of threads may call it. A context manager."""

    def __init__(
        self,
        spec: CollectionSpec,
        properties: dict[str, Any],
        files: dict[str, FileEntry],
        folder: Path,
        reader: StorageReader,
        num_threads: int,
        cache: bool = True,
    ) -> None:
        """Open the files of a version in `folder`. `reader` reads them and owns the memory budget.

        cache: whether what the budget leaves caches lists. Raises ResourceExhausted when the budget cannot hold the
        centroids and the reads of one thread, CorruptFile, UnsupportedFormat, StorageFailure.
        """
        codes.check_known(properties)
        self.spec = spec
        self.properties = properties
        self.policies = PolicyTable.from_json(properties.get("policies", []))
        self.device = DeviceModel()
        self._policies: dict[tuple[int, float | None, int | None, int | None], Policy] = {}
        self._reader = reader
        self._held: list[Reservation] = []
        self._workers = Workers(num_threads)
        self._files = {name: reader.open(folder / name, entry) for name, entry in files.items() if name in _FILES_READ}
        try:
            self._open(num_threads, cache)
        except BaseException:
            self.close()
            raise

    def _open(self, num_threads: int, cache: bool) -> None:
        memory = self._reader.memory
        self.directory: Directory = unpack(_whole(self._files["directory.blk"]), "directory.blk")
        # The core keeps its own copy; ours goes away with the large arrays below.
        self._hold("directory", self.directory.resident_bytes)
        serialized = _whole(self._files["centroid_index.blk"])
        self._hold("centroids", len(serialized))
        self.centroids = CentroidIndex.load(self.spec, serialized, "centroid_index.blk")
        self._held[-1].resize(self.centroids.resident_bytes)
        self._check_sizes()
        left = memory.statistics().available_bytes
        least = self._least_context_bytes()
        per_thread = min(MOST_BUFFER_BYTES, max(least, int(left * BUFFER_SHARE) // num_threads))
        contexts = max(1, min(num_threads, left // per_thread))
        self.num_threads = contexts
        self._hold("read buffers", contexts * per_thread)
        cache_bytes = memory.statistics().available_bytes if cache else 0
        if cache_bytes:
            self._hold("list cache", cache_bytes)
        self._statistics = IndexStatistics(
            self.centroids.resident_bytes,
            self.directory.resident_bytes,
            contexts * per_thread,
            cache_bytes,
            0,
            0,
            0,
            0,
            0,
        )
        self._core = self._make_core(contexts, contexts * per_thread, cache_bytes)

    def _make_core(self, contexts: int, buffer_bytes: int, cache_bytes: int) -> native.Searcher:
        directory, properties = self.directory, self.properties
        return native.Searcher(
            dtype=self.spec.dtype,
            metric=self.spec.core_metric,
            dim=self.spec.dim,
            code_bytes=properties["code_bytes"],
            id_bytes=properties["id_bytes"],
            row_bytes=properties["row_bytes"],
            list_offsets=directory.list_offsets,
            first_list=directory.first_list,
            radius=directory.radius,
            lower=directory.lower,
            step=directory.step,
            code_error=directory.code_error,
            postings=self._files["postings.blk"].native,
            vectors=self._files["vectors.blk"].native if "vectors.blk" in self._files else None,
            num_contexts=contexts,
            buffer_bytes=buffer_bytes,
            cache_bytes=cache_bytes,
        )

    def _hold(self, owner: str, size_bytes: int) -> None:
        self._held.append(self._reader.memory.reserve(owner, size_bytes))

    def _least_context_bytes(self) -> int:
        longest = int(np.diff(self.directory.list_offsets.astype(np.int64)).max())
        # Two reads of the longest list or row, so that one is scanned while the other arrives; blocks are cut at both
        # ends.
        return 2 * ((max(longest, self.spec.row_bytes) + 4095) // 4096 + 1) * 4096

    def _check_sizes(self) -> None:
        if self.centroids.num_centroids != self.directory.num_centroids:
            raise codes.disagreement("centroid_index.blk", self.centroids.num_centroids, self.directory.num_centroids)

    @property
    def num_rows(self) -> int:
        """Stored vectors."""
        return self.directory.num_rows

    @property
    def lossless(self) -> bool:
        """Whether the lists hold the vectors themselves."""
        return "vectors.blk" not in self._files

    @property
    def file_names(self) -> list[str]:
        """The files of the version that are open."""
        return list(self._files)

    def file(self, name: str) -> StoredFile:
        """Return an open file of the version."""
        return self._files[name]

    def close(self) -> None:
        """Give the memory and the files back."""
        self._workers.close()
        for reservation in self._held:
            reservation.close()
        self._held.clear()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def clear_cache(self) -> None:
        """Forget all cached lists and their frequencies."""
        self._core.clear_cache()

    def statistics(self) -> IndexStatistics:
        """Return where the memory is and how the cache does."""
        cache = self._core.cache_statistics()
        return replace(
            self._statistics,
            cache_bytes=cache.bytes,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            cache_admitted=cache.admitted,
            cache_evicted=cache.evicted,
        )

    # ---- search

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
        stop: Stop | None = None,
    ) -> Neighbors:
        """Return the k nearest stored vectors of each query; `outcrop.Collection.search` tells the arguments."""
        check(stop)
        check_k(k)
        floats, typed = query_rows(self.spec, queries)
        threads = self.num_threads if threads is None else max(1, min(threads, self.num_threads))
        if exact:
            return search_exact(self, floats, typed, k, threads, stop)
        return self._search_all(floats, typed, self._policy(k, recall, nprobe, rerank), threads, share_reads, stop)

    def search_by(self, queries: Float32Array, policy: Policy) -> Neighbors:
        """Search by a policy, one read per list and query: what calibration measures. queries: as the metric wants
        them."""
        policy = replace(policy, nprobe=min(policy.nprobe, self.centroids.num_centroids))
        return self._search_all(*query_rows(self.spec, queries), policy, self.num_threads, share_reads=False)

    def _search_all(
        self,
        floats: Float32Array,
        typed: UInt8Array | None,
        policy: Policy,
        threads: int,
        share_reads: bool,
        stop: Stop | None = None,
    ) -> Neighbors:
        part = max(1, _MOST_PROBES // policy.nprobe)
        if 0 < len(floats) <= part:
            return self._search_part(floats, typed, policy, threads, share_reads, stop)
        parts = [
            self._search_part(
                floats[at : at + part],
                None if typed is None else typed[at : at + part],
                policy,
                threads,
                share_reads,
                stop,
            )
            for at in range(0, len(floats), part)
        ]
        return joined(parts, policy.k)

    def _policy(self, k: int, recall: float | None, nprobe: int | None, rerank: int | None) -> Policy:
        """Return how such a search is done; the answer is remembered, since callers ask the same again and again."""
        if rerank is not None:
            check_count("rerank", rerank, 0)
        if nprobe is not None:
            if recall is not None:
                raise InvalidArgument("search: recall and nprobe exclude each other; give one of them")
            check_count("nprobe", nprobe, 1)
        if not (recall is None or isinstance(recall, int | float | np.number)):
            raise InvalidArgument(f"recall: expected above 0 and at most 1, found {recall!r}")
        asked = (k, None if recall is None else float(recall), nprobe, rerank)
        policy = self._policies.get(asked)
        if policy is None:
            if len(self._policies) >= _MOST_REMEMBERED:
                self._policies.clear()
            policy = self._policies[asked] = self._chosen(*asked)
        return policy

    def _chosen(self, k: int, recall: float | None, nprobe: int | None, rerank: int | None) -> Policy:
        if nprobe is not None:
            default = 0 if self.lossless else max(4 * k, 40)
            policy = Policy(k, 1.0, nprobe, default if rerank is None else rerank)
        else:
            policy = self.policies.choose(k, 0.95 if recall is None else recall, self.centroids.num_centroids)
            policy = policy if rerank is None else replace(policy, rerank=rerank)
        if policy.rerank and not self.lossless:
            policy = replace(policy, rerank=max(k, min(policy.rerank, MOST_K)))
        return replace(policy, k=k, nprobe=min(policy.nprobe, self.centroids.num_centroids))

    def _search_part(
        self,
        queries: Float32Array,
        typed: UInt8Array | None,
        policy: Policy,
        threads: int,
        share_reads: bool,
        stop: Stop | None,
    ) -> Neighbors:
        check(stop)
        k, began = policy.k, time.perf_counter()
        distances, probes = self._find_centroids(queries, policy.nprobe, threads)
        options = self._options(policy, threads, len(queries) if share_reads else 1)
        order: Int64Array | None = None
        if options.group_size > 1:
            # Lists have numbers near each other where they are near in space: neighbours in this order share most of
            # their reads.
            order = np.argsort(probes[:, 0], kind="stable")
            queries, distances, probes = queries[order], distances[order], probes[order]
            typed = None if typed is None else typed[order]
        centroid_us = (time.perf_counter() - began) * 1e6
        counts = policy.num_probes(probes, distances)
        ids = np.empty((len(queries), k), np.int64)
        found = np.empty((len(queries), k), np.float32)
        latency = np.empty(len(queries), np.float32)
        usage = self._core.search(
            queries, typed, probes, distances, counts, options, ids, found, latency, words_of(stop)
        )
        elapsed_us = (time.perf_counter() - began) * 1e6
        if self.spec.metric == "cosine":
            found += 1
        exact = self.lossless or policy.rerank > 0
        latency += np.float32(centroid_us / len(queries))
        if order is not None:
            place = np.argsort(order)
            ids, found, latency = ids[place], found[place], latency[place]
        return Neighbors(ids, found, usage_of(usage, len(queries), centroid_us, elapsed_us), exact, latency)

    def _find_centroids(
        self, queries: Float32Array, nprobe: int, threads: int
    ) -> tuple[Float32Array, npt.NDArray[np.int32]]:
        if threads == 1 or len(queries) < _FEWEST_QUERIES_PER_THREAD * threads:
            with single_threaded_faiss():
                return self.centroids.search(queries, nprobe)
        parts = np.array_split(queries, threads)
        found = list(self._workers.map(lambda part: self.centroids.search(part, nprobe), parts))
        return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])

    def _options(self, policy: Policy, threads: int, num_queries: int) -> native.SearchOptions:
        options = native.SearchOptions()
        options.k = policy.k
        options.rerank = 0 if self.lossless else policy.rerank
        options.first_wave = policy.first_wave
        options.next_wave = policy.next_wave
        options.patience = policy.patience
        options.gap_bytes = self.device.gap_bytes
        # Queries that share reads wait for each other's waves: groups stay small unless there are many queries.
        group_size = max(1, min(_MOST_QUERIES_PER_GROUP, num_queries // (4 * threads)))
        held = _SELECTION_BYTES // (_BYTES_PER_CANDIDATE * (options.k + max(options.k, options.rerank)))
        options.groups_in_flight = max(1, min(4, held))
        options.group_size = max(1, min(group_size, held // options.groups_in_flight))
        options.num_threads = threads
        options.read_cost_us = self.device.read_cost_us
        options.byte_cost_us = self.device.byte_cost_us
        return options

    def first_row(self, number: int) -> int:
        """Return the row of the first primary entry of list `number`, or of the next such entry. Raises CorruptFile."""
        begin, end = self.directory.list_offsets[number : number + 2].tolist()
        p, file = self.properties, self._files["postings.blk"]
        return native.list_first_row(
            file.read(begin, end - begin), number, p["code_bytes"], p["id_bytes"], p["row_bytes"], str(file.path)
        )

    def entries(self, number: int, data: UInt8Array) -> tuple[Int64Array, npt.NDArray[np.uint64], int, int]:
        """Return (ids, rows, num_primary, offset of the codes) of the bytes of list `number`. Raises CorruptFile."""
        p = self.properties
        return native.read_list(
            data, number, p["code_bytes"], p["id_bytes"], p["row_bytes"], str(self._files["postings.blk"].path)
        )


def _whole(file: StoredFile) -> UInt8Array:
    return file.read(0, file.payload_bytes)
