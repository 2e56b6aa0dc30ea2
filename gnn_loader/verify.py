"""Is a plan what it says? Every checksum, every record, and every row of the logs against the feature table."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from outcrop import native
from outcrop.errors import CorruptFile
from outcrop.gnn_loader.features import ROWS, FeatureTable
from outcrop.gnn_loader.format import MinibatchRecord, unpack
from outcrop.gnn_loader.plan_layout import OFFSETS, RECORDS
from outcrop.gnn_loader.plan_properties import PlanProperties, StreamProperties
from outcrop.store import Accountant, Problem, Root, StorageReader, StoredFile, VersionLease, verify_version
from outcrop.types import AnyArray, Int64Array, PlanProblems

_BUFFER_BYTES = 1 << 20
_COMPARED_BYTES = 8 << 20
_NOTHING, _PINNED = -1, -2


def verify_plan(
    root: Root, lease: VersionLease, properties: PlanProperties, memory_bytes: int, reader: str = "auto"
) -> PlanProblems:
    """Read every byte of a plan whose tables are current. memory_bytes: for tables of checksums and buffers.

    Damage is returned; raises StorageFailure and ResourceExhausted.
    """
    with StorageReader(Accountant(memory_bytes), reader, buffer_bytes=_BUFFER_BYTES) as storage:
        problems = tuple(verify_version(lease, storage, lambda _: None))
    if problems:
        return PlanProblems(problems, 0, 0)
    return verify_rows(root, lease, properties, memory_bytes, reader)


def verify_rows(
    root: Root, lease: VersionLease, properties: PlanProperties, memory_bytes: int, reader: str = "auto"
) -> PlanProblems:
    """As `verify_plan`, when all checksums are known to be right."""
    check = _Check(root, lease, properties, memory_bytes, reader)
    try:
        check.run()
    except CorruptFile as error:
        return PlanProblems((Problem("version", None, str(error)),), check.num_minibatches, check.rows_compared)
    return PlanProblems((), check.num_minibatches, check.rows_compared)


class _Check:
    """Replays every shard with caches of keys instead of rows."""

    def __init__(
        self, root: Root, lease: VersionLease, properties: PlanProperties, memory_bytes: int, reader: str
    ) -> None:
        self._root, self._lease, self._properties = root, lease, properties
        self._memory_bytes, self._reader = memory_bytes, reader
        self.num_minibatches = 0
        self.rows_compared = 0

    def run(self) -> None:
        memory = Accountant(self._memory_bytes)
        with StorageReader(memory, self._reader, buffer_bytes=_BUFFER_BYTES) as storage:
            records, offsets = self._open(storage, RECORDS), self._open(storage, OFFSETS)
            begins = offsets.read(0, offsets.payload_bytes).view(np.int64)
            self._check_offsets(begins, records.payload_bytes)
            streams = [self._stream(storage, memory, stream) for stream in self._properties.streams]
            try:
                for shard in self._properties.shards:
                    self._replay(shard, begins, records, streams)
            finally:
                for stream in streams:
                    stream.table.close()

    def _open(self, storage: StorageReader, name: str) -> StoredFile:
        return storage.open(self._lease.path(name), self._lease.manifest.file(name))

    def _check_offsets(self, begins: Int64Array, payload_bytes: int) -> None:
        whole = len(begins) == self._properties.num_minibatches + 1 and begins[0] == 0 and begins[-1] == payload_bytes
        if not whole or (np.diff(begins) <= 0).any() or (begins % 4096).any():
            raise CorruptFile(f"{OFFSETS}: expected {self._properties.num_minibatches} records, ascending and aligned")

    def _stream(self, storage: StorageReader, memory: Accountant, stream: StreamProperties) -> "_StreamCheck":
        made_from = self._properties.fingerprint["tables"][stream.node_type]
        table = FeatureTable.open(self._root.open_version(made_from["id"], made_from["version"]), memory, self._reader)
        return _StreamCheck(stream, self._open(storage, stream.log), table)

    def _replay(
        self, epochs: tuple[int, ...], begins: Int64Array, records: StoredFile, streams: list["_StreamCheck"]
    ) -> None:
        bounds = [(s.properties.num_slots, s.properties.row_bytes, s.properties.log_bytes) for s in streams]
        num_nodes, num_edge_types = list(self._properties.node_counts.values()), len(self._properties.edge_types)
        shard = self._properties.shards.index(epochs)
        for stream in streams:
            stream.begin(shard)
        for number in range(epochs[0], epochs[-1]):
            where = f"{RECORDS}: minibatch {number}"
            raw = records.read(int(begins[number]), int(begins[number + 1] - begins[number]))
            native.check_record(raw, where, num_nodes, num_edge_types, bounds)
            record = unpack(raw, where)
            for k, stream in enumerate(streams):
                self.rows_compared += stream.check(record, k, where)
            self.num_minibatches += 1


@dataclass(slots=True)
class _StreamCheck:
    """One stream while it is replayed. slots: int64, the key that each slot holds, or _NOTHING, or _PINNED: which key
    that is, the first minibatch says that hits it. pinned: where those rows begin in the log."""

    properties: StreamProperties
    log: StoredFile
    table: FeatureTable
    slots: Int64Array | None = None
    pinned: int = 0

    def begin(self, shard: int) -> None:
        """Begin with the cache of a shard as its loader does."""
        count, self.pinned = self.properties.pinned[shard]
        self.slots = np.full(self.properties.num_slots, _NOTHING, np.int64)
        self.slots[:count] = _PINNED

    def check(self, record: MinibatchRecord, k: int, where: str) -> int:
        """Compare what a minibatch finds in the log and in slots with the nodes that it wants; return rows compared."""
        assert self.slots is not None
        recipe, compared, hits = record.streams[k], 0, 0
        nodes = record.nodes[recipe.type]
        for base, num_misses, num_hits, offset in _segments(recipe.moves):
            missed, hit = nodes[base : base + num_misses], nodes[base + num_misses : base + num_misses + num_hits]
            slots = recipe.hit_slots[hits : hits + num_hits]
            compared += self._meet_pinned(slots, hit, where)
            found = self.slots[slots]
            if not np.array_equal(found, hit):
                at = int(np.flatnonzero(found != hit)[0])
                raise CorruptFile(f"{where}: expected node {hit[at]} in its slot, the cache has {found[at]} there")
            self._compare(missed, offset + np.arange(num_misses) * self.properties.row_bytes, where)
            compared += num_misses
            hits += num_hits
        self.slots[recipe.insert_slots] = nodes[recipe.insert_rows]
        return compared

    def _meet_pinned(self, slots: AnyArray, keys: AnyArray, where: str) -> int:
        """Compare pinned rows that are hit for the first time; return how many."""
        assert self.slots is not None
        new = self.slots[slots] == _PINNED
        places = self.pinned + slots[new].astype(np.int64) * self.properties.row_bytes
        self._compare(keys[new], places, where)
        self.slots[slots[new]] = keys[new]
        return len(places)

    def _compare(self, keys: AnyArray, places: Int64Array, where: str) -> None:
        """Compare rows of the log, by where they begin, with those of the table."""
        row_bytes = self.properties.row_bytes
        step = max(1, _COMPARED_BYTES // row_bytes)
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            packed = np.empty((len(some), row_bytes), np.uint8)
            lengths = np.full(len(some), row_bytes, np.int64)
            self.log.read_ranges(places[start : start + step], lengths, packed.reshape(-1))
            expected = self.table.fetch(some, decode=False)
            if not np.array_equal(packed, expected):
                at = int(np.flatnonzero((packed != expected).any(axis=1))[0])
                raise CorruptFile(f"{where}: {self.properties.log}: row of node {some[at]} is not that of {ROWS}")


def _segments(moves: AnyArray) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first row, misses, hits, log offset) of each segment."""
    base = 0
    for num_misses, num_hits, offset in moves.tolist():
        yield base, num_misses, num_hits, offset
        base += num_misses + num_hits
