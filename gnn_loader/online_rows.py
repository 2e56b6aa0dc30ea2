"""The rows of one feature table for minibatches known a few ahead: what each tier gets, and which rows stay."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument, ResourceExhausted
from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.scores import degrees, ranked, reverse_pagerank
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.store import Accountant, StorageReader, format_bytes
from outcrop.store.tiers import TieredReader, TierOptions
from outcrop.types import AnyArray, DeviceModel, Int64Array, NodeSeeds, ScoreKind, TierStatistics, UInt8Array

# Reads are merged up to 1 MiB; four of them in flight reach the device's bandwidth.
_READ_BUFFER_BYTES = 8 << 20
# Extents of the victim buffer, of which it needs a few for each minibatch that is looked ahead.
_LEAST_VICTIM_BYTES = 4 << 20
_VICTIM_SHARE = 8


@dataclass(frozen=True, slots=True)
class TierSplit:
    """How the memory for one table's rows is divided: cached rows, and bytes of the victim buffer (0: none)."""

    cache_rows: int
    victim_memory_bytes: int


def split_memory(
    memory_bytes: int, num_rows: int, row_bytes: int, victim_memory_bytes: int | None, name: str
) -> TierSplit:
    """Divide `memory_bytes`: key tables first, then the victim buffer (by default an eighth), the rest for the cache.

    Raises ResourceExhausted, with the least that works, when it does not even hold the tables.
    """
    tables = native.TieredReader.memory_bytes(num_rows, row_bytes, 0, 0)
    extent = native.VictimBuffer.extent_bytes_for(row_bytes)
    if victim_memory_bytes is None:
        wanted = max(memory_bytes // _VICTIM_SHARE, _LEAST_VICTIM_BYTES, 4 * extent)
        victim_memory_bytes = wanted if wanted <= (memory_bytes - tables) // 2 else 0
    left = memory_bytes - tables - victim_memory_bytes
    if left < 0:
        raise ResourceExhausted(
            f"online rows of {name!r}: tables for {num_rows} rows and the victim buffer take "
            f"{tables + victim_memory_bytes} bytes, the budget is {memory_bytes} ({format_bytes(memory_bytes)})"
        )
    per_row = native.TieredReader.memory_bytes(num_rows, row_bytes, 1, 0) - tables
    return TierSplit(min(num_rows, left // per_row), victim_memory_bytes)


class OnlineRows:
    """Rows of one table through the tiers: announced ahead, read in order, decoded. A context manager by `close`."""

    def __init__(
        self,
        table: FeatureTable,
        split: TierSplit,
        victim_disk_bytes: int,
        scratch_folder: Path | None,
        longest_group: int,
        reader_kind: str,
    ) -> None:
        """Open the table's file again, with buffers and a budget of its own. Raises as `TieredReader` does."""
        self.codec = table.codec
        self.num_rows = table.num_rows
        options = TierOptions(
            cache_rows=split.cache_rows,
            victim_memory_bytes=split.victim_memory_bytes,
            victim_disk_bytes=victim_disk_bytes if split.victim_memory_bytes else 0,
            scratch_folder=scratch_folder,
            longest_group=longest_group,
            device=DeviceModel(),
        )
        # It counts and refuses nothing: the tiers keep to the split, and announced keys are the graph's doing.
        self.memory = Accountant(1 << 60)
        self._storage = StorageReader(self.memory, reader_kind, buffer_bytes=_READ_BUFFER_BYTES)
        try:
            file = self._storage.open(table.file.path, table.file.entry)
            self._tiers = TieredReader(
                self._storage, file, num_rows=table.num_rows, row_bytes=table.row_bytes, options=options
            )
        except BaseException:
            self._storage.close()
            raise
        self._coded: UInt8Array = np.empty(0, np.uint8)

    def announce(self, ids: AnyArray) -> int:
        """Say what the next minibatch will ask for, uint32 [n]; return its number."""
        return self._tiers.announce(ids)

    def size_bytes(self, num_rows: int) -> int:
        """What so many decoded rows take."""
        return num_rows * self.codec.num_items * self.codec.dtype.itemsize

    def read(self, number: int, num_rows: int, out: UInt8Array) -> AnyArray:
        """Fill `out`, uint8 [size_bytes(num_rows)], and return it as [num_rows, *row_shape] of the table's dtype."""
        if self.codec.name == "raw":
            self._tiers.read(number, out.reshape(num_rows, self.codec.row_bytes))
        else:
            coded_bytes = num_rows * self.codec.row_bytes
            if len(self._coded) < coded_bytes:
                self._coded = np.empty(coded_bytes * 9 // 8, np.uint8)
            coded = self._coded[:coded_bytes].reshape(num_rows, self.codec.row_bytes)
            self._tiers.read(number, coded)
            native.decode_rows(self.codec.name, coded, out.view(np.float32).reshape(num_rows, self.codec.num_items))
        return out.view(self.codec.dtype).reshape(num_rows, *self.codec.row_shape)

    def set_scores(self, counts: Int64Array) -> None:
        """Keep rows with higher counts, of those that no announced minibatch wants: int64 [num_rows]."""
        fits = len(counts) == 0 or counts.max() < 2**16
        self._tiers.set_scores(counts.astype(np.uint16) if fits else ranked(counts))

    def statistics(self) -> TierStatistics:
        """Return rows and bytes per tier."""
        return self._tiers.statistics()

    def close(self) -> None:
        """Give everything back; waits for a read under way. Twice is allowed."""
        self._tiers.close()
        self._storage.close()


def first_scores(
    kind: ScoreKind,
    sampler: NeighborSampler,
    batches: SeedBatches,
    num_sampled: int,
    epoch: int,
    threads: int,
) -> Mapping[str, AnyArray]:
    """Return a number for each node of each type: how likely a minibatch asks for it. Empty for "none".

    sampled: how often `num_sampled` minibatches, spread over the epoch, ask for it. pagerank: reverse PageRank from the
    seeds. degree: how many edges begin at it. Raises InvalidArgument for another word.
    """
    graph = sampler.graph
    if kind == "none":
        return {}
    if kind == "sampled":
        return _sampled_counts(sampler, batches, num_sampled, epoch, threads)
    edges = {edge_type: graph.csc(edge_type) for edge_type in graph.edge_types}
    if kind == "pagerank":
        seeds = batches.seeds
        starts = {seeds.node_type: seeds.ids} if isinstance(seeds, NodeSeeds) else None
        topology = {edge_type: (arrays.indptr, arrays.indices) for edge_type, arrays in edges.items()}
        scores = reverse_pagerank(topology, graph.node_types, seeds=starts)
        return {name: ranked(values).astype(np.int64) for name, values in scores.items()}
    if kind == "degree":
        found = {name: np.zeros(count, np.int64) for name, count in graph.node_types.items()}
        for (src, _, _), arrays in edges.items():
            found[src] += degrees(arrays.indptr, arrays.indices, graph.node_types[src])[1]
        return found
    raise InvalidArgument(f"scores: expected sampled, pagerank, degree or none, found {kind!r}")


def _sampled_counts(
    sampler: NeighborSampler, batches: SeedBatches, num_sampled: int, epoch: int, threads: int
) -> dict[str, Int64Array]:
    counts = {name: np.zeros(count, np.int64) for name, count in sampler.graph.node_types.items()}
    for batch in np.unique(np.linspace(0, len(batches) - 1, num_sampled).astype(int)):
        for minibatch in sampler.sample_many(batches, epoch=epoch, first_batch=int(batch), count=1, threads=threads):
            for name, ids in minibatch.nodes.items():
                counts[name][ids] += 1
    return counts


def split_between(
    tables: Mapping[str, FeatureTable], node_types: Mapping[str, str], counts: Mapping[str, AnyArray], memory_bytes: int
) -> dict[str, int]:
    """Return the bytes that each table gets: in proportion to the bytes that minibatches want of it.

    counts: by node type, for each node how often it was asked for, or anything in proportion to it.
    """
    wanted = {
        name: table.row_bytes * max(1.0, float(np.sum(counts.get(node_types[name], table.num_rows))))
        for name, table in tables.items()
    }
    total = sum(wanted.values())
    return {name: int(memory_bytes * part / total) for name, part in wanted.items()}
