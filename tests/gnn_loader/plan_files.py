"""Plans made in memory, for the tests of loaders: sampled and scheduled by the core, packed by NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.gnn_loader import ArrayGraph, Minibatch, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.gnn_loader.codecs import RowCodec
from outcrop.gnn_loader.plan_layout import OFFSETS, RECORDS, PlanLayout, PlannedStream
from outcrop.store import BlockWriter, FileEntry, Root
from outcrop.types import AnyArray, CscArrays, EdgeType, Seeds, UInt8Array


@dataclass(frozen=True)
class Table:
    """A feature table: rows [n, *row_shape] and how they are stored."""

    node_type: str
    rows: AnyArray
    codec: RowCodec

    @property
    def coded(self) -> UInt8Array:
        return self.codec.encode(self.rows)


@dataclass(frozen=True)
class MadePlan:
    """The layout, and the minibatches that loading it must give, by shard, without features."""

    layout: PlanLayout
    minibatches: list[list[Minibatch]]


def raw_table(node_type: str, num_rows: int, row_shape: tuple[int, ...], dtype: str, seed: int) -> Table:
    """Random bits, NaN and infinities among them."""
    row_type = np.dtype(dtype)
    size = num_rows * int(np.prod(row_shape)) * row_type.itemsize
    bits = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    rows = bits.view(row_type).reshape(num_rows, *row_shape)
    return Table(node_type, rows, RowCodec("raw", row_shape, row_type, dtype))


def random_graph(num_nodes: int, degree: int, seed: int) -> ArrayGraph:
    """Edges to a few nodes more often than to others."""
    rng = np.random.default_rng(seed)
    degrees = rng.integers(0, 2 * degree, num_nodes)
    indptr = np.concatenate(([0], np.cumsum(degrees))).astype(np.int64)
    sources = (rng.random(indptr[-1]) ** 2 * num_nodes).astype(np.uint32)
    return ArrayGraph.homogeneous(indptr, sources)


def typed_graph(counts: dict[str, int], edge_types: list[EdgeType], degree: int, seed: int) -> ArrayGraph:
    """Random edges of several types."""
    rng = np.random.default_rng(seed)
    edges = {}
    for src, relation, dst in edge_types:
        indptr = np.arange(counts[dst] + 1, dtype=np.int64) * degree
        sources = rng.integers(0, counts[src], indptr[-1]).astype(np.uint32)
        edges[src, relation, dst] = CscArrays(indptr, sources)
    return ArrayGraph.of(counts, edges)


def make_plan(
    root: Path,
    graph: ArrayGraph,
    tables: dict[str, Table],
    *,
    seeds: Seeds | None = None,
    cache_rows: int = 50,
    batch_size: int = 20,
    epochs: int = 2,
    num_shards: int = 1,
    fanouts: tuple[int, ...] = (4, 3),
    sampler: NeighborSampler | None = None,
    name: str = "plan",
) -> MadePlan:
    """Write a plan to the root, a new object of it."""
    sampler = sampler or NeighborSampler(graph, fanouts, seed=5)
    batches = SeedBatches(seeds or NodeSeeds(np.arange(110), next(iter(graph.node_types))), batch_size, seed=3)
    shards: list[list[native.SampledMinibatch]] = [[] for _ in range(num_shards)]
    ends: list[list[int]] = [[0] for _ in range(num_shards)]
    for epoch in range(epochs):
        drawn = sampler.draw(batches.seeds, list(batches.epoch(epoch)), epoch=epoch, first_batch=0)
        for shard in range(num_shards):
            shards[shard] += drawn[shard::num_shards]
            ends[shard].append(len(shards[shard]))
    types = list(graph.node_types)
    coded = {key: table.coded for key, table in tables.items()}
    logs: dict[str, bytearray] = {key: bytearray() for key in tables}
    records = []
    for sequence in shards:
        recipes: list[list[native.StreamRecipe]] = [[] for _ in sequence]
        for key, table in tables.items():
            number = types.index(table.node_type)
            scheduler = native.Scheduler(number, len(table.rows), cache_rows)
            future = native.NextUses(len(table.rows))
            next_uses = [future.before(i, sequence[i].nodes[number]) for i in range(len(sequence) - 1, -1, -1)][::-1]
            for i, drawn_minibatch in enumerate(sequence):
                recipe = scheduler.step(i, drawn_minibatch, next_uses[i])
                _append_rows(logs[key], recipe, coded[key], drawn_minibatch.nodes[number])
                recipes[i].append(recipe)
        records += [native.write_record(m, r) for m, r in zip(sequence, recipes, strict=True)]
    streams = tuple(
        PlannedStream(
            key,
            table.node_type,
            table.codec,
            cache_rows,
            max(len(m.nodes[types.index(table.node_type)]) for sequence in shards for m in sequence),
            f"log-{number}.blk",
        )
        for number, (key, table) in enumerate(tables.items())
    )
    begins = np.concatenate(([0], np.cumsum([len(sequence) for sequence in shards])))[:-1].tolist()
    with Root.open(root) as opened:
        plan = opened.create("plans", name, {})
        with opened.begin_version(plan.id) as writer:
            offsets = np.cumsum([0, *(len(record) for record in records)], dtype=np.int64)
            files = [
                _write(writer.folder / RECORDS, "minibatches", np.concatenate(records)),
                _write(writer.folder / OFFSETS, "offsets", offsets.view(np.uint8)),
            ]
            for stream in streams:
                log = np.frombuffer(bytes(logs[stream.name]), np.uint8)
                files.append(_write(writer.folder / stream.log, "log", log))
            version = writer.commit(files, {}).version
    layout = PlanLayout(
        root,
        name,
        plan.id,
        version,
        dict(graph.node_types),
        tuple(graph.edge_types),
        streams,
        tuple(tuple(begin + end for end in shard) for begin, shard in zip(begins, ends, strict=True)),
    )
    return MadePlan(layout, [[sampler.minibatch(m) for m in sequence] for sequence in shards])


def _append_rows(log: bytearray, recipe: native.StreamRecipe, coded: UInt8Array, nodes: AnyArray) -> None:
    recipe.place_in_log(coded.shape[1], len(log))
    base = 0
    for misses, hits, offset in recipe.segments.astype(np.int64).tolist():
        if misses:
            log.extend(bytes(offset - len(log)))
            log.extend(coded[nodes[base : base + misses]].tobytes())
        base += misses + hits


def _write(path: Path, kind: str, payload: UInt8Array) -> FileEntry:
    with BlockWriter(path, kind) as writer:
        writer.append(payload)
        return writer.finish()
