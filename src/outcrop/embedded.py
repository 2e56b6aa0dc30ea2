"""The engine in this process: a root folder and what it holds: collections, graphs, feature tables."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from outcrop import graphs, loaders, plans, snapshots, stored
from outcrop.ann import CollectionSpec
from outcrop.collection import Collection
from outcrop.connection import Connection
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import FeatureTable, FreshLoader, Graph, OnlineLoader, OnlineOptions, Plan, PlanOptions
from outcrop.jobs import Job
from outcrop.places import is_url
from outcrop.store import Manifest, Root, parse_bytes
from outcrop.store.snapshots import SnapshotArchive
from outcrop.types import (
    STORED_KINDS,
    ArchiveInfo,
    CollectionInfo,
    CollectionStatistics,
    Fanouts,
    Progress,
    RestoreReport,
    SnapshotInfo,
    SnapshotOrPath,
    SnapshotReport,
    StoredReport,
    parse_budget,
)

__all__ = ["Collection", "CollectionInfo", "CollectionStatistics", "Database", "connect"]

_DEFAULT_MEMORY = "1GiB"
_IMPORT_MEMORY = "256MiB"


class Database:
    """An open root folder; `outcrop.connect(path)` returns one. A context manager; safe for several threads."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        memory: str | int = _DEFAULT_MEMORY,
        read_only: bool = False,
        reader: str = "auto",
        threads: int | None = None,
        create: bool = True,
    ) -> None:
        """Use `outcrop.connect`, which tells the arguments."""
        budget = parse_bytes(memory)
        self._root = Root.open(path, read_only=read_only, create=create)
        self.connection = Connection(self._root, budget, reader, threads or os.cpu_count() or 1)
        self._open: dict[str, Collection] = {}
        self._lock = threading.Lock()

    def create_collection(
        self, name: str, *, dim: int, metric: str = "l2", dtype: str = "float32", id_type: str = "int64"
    ) -> "Collection":
        """Make an empty collection of vectors of dimension `dim`.

        metric: l2, ip or cosine. dtype: of the stored vectors (float32, float16, uint8, int8). id_type: int64 or
        string. Raises InvalidArgument, AlreadyExists.
        """
        spec = CollectionSpec(dim, metric, dtype, id_type)
        self._root.create("collections", name, spec.to_json())
        return self.collection(name)

    def collection(self, name: str) -> "Collection":
        """Return a collection by its name. Raises NotFound."""
        record = self._root.get("collections", name)
        with self._lock:
            held = self._open.get(name)
            if held is not None and held.id == record.id:
                return held
            made = self._open[name] = Collection(self.connection, name, record.id, record.spec)
        if held is not None:
            held.close()  # another process has dropped it
        return made

    def collection_names(self) -> list[str]:
        """Return the names of all collections, sorted. Opens none, so it works when some are damaged."""
        return [record.name for record in self._root.list_objects("collections")]

    def list_collections(self) -> list[CollectionInfo]:
        """Return all collections, by name."""
        return [self.collection(record.name).info() for record in self._root.list_objects("collections")]

    def drop_collection(self, name: str) -> None:
        """Remove a collection. Readers that have it open keep their version until they close it. Raises NotFound."""
        self._root.drop("collections", name)
        with self._lock:
            held = self._open.pop(name, None)
        if held is not None:
            held.close()
        self._root.gc()

    def import_graph(
        self, name: str, source: Any, *, num_nodes: int | None = None, memory: str | int = _IMPORT_MEMORY
    ) -> Job[Manifest]:
        """Store a graph and return the job; an older version of that name stays readable until the new one is there.

        source: a `GraphSource`, such as `outcrop.datasets` makes of files and `outcrop.gnn_loader.adapters` of DGL and
        PyG data; a tuple (indptr, indices) by destination; or an edge index [2, num_edges] of `num_nodes` nodes, by
        default as many as it names. Arrays may be memory maps.
        memory: for edges on their way. A killed or cancelled import resumes when it is called again with the same
        arguments, if the source says what it is (arrays and files do).
        Raises InvalidArgument before any work; the job raises InvalidArgument naming the first bad node or edge,
        Unavailable when another process writes this graph, StorageFailure, Cancelled.
        """
        return graphs.graph_import(self.connection, name, source, num_nodes, parse_bytes(memory))

    def graph(self, name: str, *, memory: str | int | None = None, placement: str = "auto") -> Graph:
        """Open the current version of a graph; the caller closes it, and it stays as it is until then.

        memory: for its arrays, by default that of the connection. placement: "memory", "map", or "auto": in memory if
        it fits. Raises NotFound, CorruptFile, ResourceExhausted, StorageFailure.
        """
        return graphs.open_graph(self.connection, name, self._budget(memory), placement)

    def graph_names(self) -> list[str]:
        """Return the names of all graphs, sorted; also of one whose first import has not ended."""
        return self._names("graphs")

    def drop_graph(self, name: str) -> None:
        """Remove a graph; who has it open keeps it until closing it. Raises NotFound."""
        self._drop("graphs", name)

    def import_features(
        self, name: str, source: Any, *, codec: str = "raw", memory: str | int = _IMPORT_MEMORY
    ) -> Job[Manifest]:
        """Store a table of feature rows and return the job; a new version when there is one of that name.

        source: an array [num_rows, ...] of any dtype, a memory map, or a `RowSource`. codec: raw keeps every bit;
        float32, float16, bfloat16 and int8 (with a scale per row) convert. memory, resuming and errors: as
        `import_graph`.
        """
        return graphs.feature_import(self.connection, name, source, codec, parse_bytes(memory))

    def features(self, name: str, *, memory: str | int | None = None) -> FeatureTable:
        """Open the current version of a feature table; the caller closes it, and it stays as it is until then.

        memory: for checksums and read buffers, by default that of the connection. Raises as `graph` does.
        """
        return graphs.open_features(self.connection, name, self._budget(memory))

    def feature_names(self) -> list[str]:
        """Return the names of all feature tables, sorted; also of one whose first import has not ended."""
        return self._names("features")

    def drop_features(self, name: str) -> None:
        """Remove a feature table; who has it open keeps it until closing it. Raises NotFound."""
        self._drop("features", name)

    def stored_names(self) -> list[tuple[str, str]]:
        """Return (kind, name) of everything beside collections that holds bytes: graphs, features, plans."""
        return [(kind, record.name) for kind in STORED_KINDS for record in self._root.list_objects(kind)]

    def verify(
        self,
        kind: str,
        name: str,
        *,
        memory: str | int = "256MiB",
        progress: Callable[[Progress], object] | None = None,
    ) -> StoredReport:
        """Read every byte of a graph, a feature table or a plan and report all that is wrong with it.

        kind: "graphs", "features" or "plans". First every checksum; of a graph, when those are right, also that its
        offsets ascend, its edges name nodes and are in order, its weights are numbers; of a plan, if it
        is current, that every row of its logs and caches is that of the feature table. A collection is verified by
        `Collection.verify`. Raises NotFound, StorageFailure, ResourceExhausted, UnsupportedFormat.
        """
        return stored.verify_stored(self.connection, kind, name, parse_bytes(memory), progress or (lambda _: None))

    def create_plan(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int = 1,
        first_epoch: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        num_shards: int = 1,
        replayed: bool = True,
        **sampling: Any,
    ) -> Job[Manifest]:
        """Sample the minibatches of `epochs` epochs ahead, choose what a cache keeps, and write what it misses to a log
        in the order of use; return the job. A new version when there is a plan of that name.

        features: the name of the table, or {node type: name}. seeds: ids, `NodeSeeds` or `EdgeSeeds`. fanouts and
        sampling: as `NeighborSampler` has them. epochs: loaders repeat them in turn. seed: of batching and sampling.
        cache_memory: for cached rows while training, shared among the tables; 0 is fine. pack_memory: for making the
        plan. disk: for the plan and what making it needs; None is what is free. num_shards: one sequence per trainer.
        replayed: whether loaders go through the plan more than once; then a part of the cache may be pinned, which is
        loaded when a loader begins and is there in every pass.
        A killed or cancelled plan resumes when it is called again with the same arguments; budgets for making it may
        differ. Raises InvalidArgument, NotFound, and ResourceExhausted for too little memory, before any work; the job
        raises ResourceExhausted before it would pass a budget, Unavailable, StorageFailure, Cancelled.
        """
        options = PlanOptions(
            cache_bytes=parse_budget(cache_memory),
            pack_bytes=parse_bytes(pack_memory),
            disk_bytes=None if disk is None else parse_bytes(disk),
            num_shards=num_shards,
            replayed=replayed,
            threads=self.connection.threads,
        )
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        return plans.plan_making(
            self.connection,
            name,
            graph,
            features,
            seeds,
            fanouts,
            batches,
            (first_epoch, epochs),
            options,
            {"seed": seed, **sampling},
        )

    def plan(self, name: str) -> Plan:
        """Open the current version of a plan; the caller closes it.

        Raises NotFound, CorruptFile, and InvalidArgument when the graph or a table has changed since it was made.
        """
        return plans.open_plan(self.connection, name)

    def online_loader(
        self,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        options: OnlineOptions,
        batch_size: int = 1024,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        **sampling: Any,
    ) -> OnlineLoader:
        """Open a loader that makes no plan: it samples a few minibatches ahead. The caller closes it.

        options: memory, window and tiers; without a scratch_folder its scratch file lies in the root. Others as
        `create_plan` has them. Raises InvalidArgument, NotFound, ResourceExhausted.
        """
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        return loaders.open_online(
            self.connection, graph, features, seeds, fanouts, batches, options, {"seed": seed, **sampling}
        )

    def fresh_loader(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        slots: int = 3,
        threads: int = 1,
        **sampling: Any,
    ) -> FreshLoader:
        """Open a loader that plans each epoch while the one before it trains. The caller closes it.

        name: of the plan, which is replaced from epoch to epoch and removed at the end. epochs: how many there will be;
        None when that is open. disk: for making one epoch; two are there at a time. Others as `create_plan` and
        `Plan.loader` have them. Raises InvalidArgument, NotFound, ResourceExhausted.
        """
        options = PlanOptions(
            cache_bytes=parse_budget(cache_memory),
            pack_bytes=parse_bytes(pack_memory),
            disk_bytes=None if disk is None else parse_bytes(disk),
            threads=self.connection.threads,
        )
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        return loaders.open_fresh(
            self.connection,
            name,
            graph,
            features,
            seeds,
            fanouts,
            batches,
            options,
            {"seed": seed, **sampling},
            {"num_epochs": epochs, "slots": slots, "threads": threads},
        )

    def plan_names(self) -> list[str]:
        """Return the names of all plans, sorted."""
        return [record.name for record in self._root.list_objects("plans")]

    def drop_plan(self, name: str) -> None:
        """Remove a plan; who has it open keeps it until closing it. Raises NotFound."""
        self._drop("plans", name)

    def create_snapshot(self, name: str, *, objects: Sequence[tuple[str, str]] | None = None) -> SnapshotInfo:
        """Keep the current versions of objects under a name, all of one instant: later builds, drops and `gc` leave
        them alone until the snapshot is deleted. Nothing is copied.

        objects: (kind, name) of each; None is everything that has a version, but for plans that are stale already and
        those of a fresh loader: they would be of no use. Raises InvalidArgument, AlreadyExists, NotFound.
        """
        return snapshots.create_snapshot(self.connection, name, objects)

    def snapshot(self, name: str) -> SnapshotInfo:
        """Return what a snapshot keeps. Raises NotFound."""
        return snapshots.snapshot_info(self._root.get_snapshot(name))

    def list_snapshots(self) -> list[SnapshotInfo]:
        """Return all snapshots, by name."""
        return [snapshots.snapshot_info(record) for record in self._root.list_snapshots()]

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot and remove what only it has kept. Who reads it goes on until closing it. Raises
        NotFound."""
        self._root.delete_snapshot(name)
        self._root.gc()

    def verify_snapshot(self, source: SnapshotOrPath, *, memory: str | int = "256MiB") -> Job[SnapshotReport]:
        """Read every byte of a snapshot, or of an archive, and return the job, whose result says what is wrong.

        source: as `restore_snapshot` has it. memory: for tables of checksums. Raises NotFound, CorruptFile for what is
        no whole archive; the job raises StorageFailure, ResourceExhausted, Cancelled.
        """
        return snapshots.verify_snapshot(self.connection, source, parse_bytes(memory))

    def snapshot_archive(self, name: str) -> SnapshotArchive:
        """Open a snapshot as the bytes of its archive, any part of which can be read; the caller closes it.

        Raises NotFound, CorruptFile, StorageFailure.
        """
        return SnapshotArchive(self._root, name)

    def export_snapshot(self, name: str, path: str | os.PathLike[str]) -> Job[ArchiveInfo]:
        """Write the archive of a snapshot to a new file and return the job; all blocks are checked on their way.

        A killed or cancelled export leaves `<path>.partial`, from which the same call goes on. Raises NotFound,
        AlreadyExists; the job raises CorruptFile, StorageFailure, Cancelled.
        """
        return snapshots.export_snapshot(self.connection, name, path)

    def restore_snapshot(
        self,
        source: SnapshotOrPath,
        *,
        rename: Mapping[str, str] | None = None,
        objects: Sequence[tuple[str, str]] | None = None,
    ) -> Job[RestoreReport]:
        """Make what a snapshot keeps current again, here, and return the job.

        source: the name of a snapshot of this root; or where an archive lies: a path object, or text with a slash.
        objects: (kind, name) of some; None is all. rename: new names, by `name` or by `kind/name`.
        An object that exists gets a new version, another one is made; one that is as the snapshot has it, every byte
        checked, is left alone. All is copied and checked before the first version appears, and they appear one after
        the other. A plan is bound to the graph and tables that are restored with it, or that are still current here. A
        killed or cancelled restore resumes when it is called again with the same arguments.
        Raises NotFound, InvalidArgument, CorruptFile before any work; the job raises InvalidArgument where an object of
        that name is something else, CorruptFile naming the block, ResourceExhausted for too little disk, Unavailable
        when another process writes one of the objects, StorageFailure, Cancelled.
        """
        return snapshots.restore_snapshot(self.connection, source, rename or {}, objects, self._refresh_restored)

    def gc(self) -> list[str]:
        """Remove files that no version needs and no reader holds; returns their paths, relative to the root."""
        return self._root.gc()

    def close(self) -> None:
        """Close all collections."""
        with self._lock:
            held, self._open = list(self._open.values()), {}
        for collection in held:
            collection.close()
        self._root.close()

    def _refresh_restored(self, report: RestoreReport) -> None:
        with self._lock:
            held = [self._open.get(each.name) for each in report.objects if each.kind == "collections"]
        for collection in held:
            if collection is not None:
                collection.refresh()

    def _budget(self, memory: str | int | None) -> int:
        return self.connection.memory_bytes if memory is None else parse_bytes(memory)

    def _names(self, kind: str) -> list[str]:
        return [record.name for record in self._root.list_objects(kind)]

    def _drop(self, kind: str, name: str) -> None:
        self._root.drop(kind, name)
        self._root.gc()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(path: str | os.PathLike[str], **options: Any) -> Database:
    """See `outcrop.connect`."""
    if is_url(path):
        raise InvalidArgument(f"expected a folder, found {path!s}; `outcrop.connect` takes servers too")
    return Database(path, **options)
