"""Makes a plan: samples the minibatches of its epochs, schedules them against a cache, packs what the cache misses.

Each stage leaves notes behind; a killed or cancelled plan goes on where it was. Budgets for memory and disk are stated
by the caller: what would pass them is refused before it is begun.
"""

import hashlib
import json
from collections.abc import Callable, Mapping

import numpy as np

from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.graph import Graph
from outcrop.gnn_loader.plan_properties import PlanProperties, StreamProperties
from outcrop.gnn_loader.planning.pack import LogPacker, Misses, choose_groups, temporary_bytes
from outcrop.gnn_loader.planning.plan_costs import StageCosts
from outcrop.gnn_loader.planning.plan_disk import DiskBudget
from outcrop.gnn_loader.planning.plan_input import PlanInput, PlanOptions, PlanTable
from outcrop.gnn_loader.planning.recipes import (
    CachedStream,
    CarriedCache,
    Scheduled,
    carried_caches,
    forget_next_uses,
    missed_keys,
    orders_of_use,
    schedule_trace,
    scheduled_before,
)
from outcrop.gnn_loader.planning.schedule import MissCurve, miss_curve, share_memory
from outcrop.gnn_loader.planning.trace import Epochs, Trace, forget_trace, sample_trace
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.store import Accountant, FileEntry, Manifest, StorageReader, VersionWriter, write_atomically
from outcrop.types import CurvePoints, PlanCost, Progress, UInt32Array

# Of the work, by what stages cost at 512 bytes a row.
_STAGES = {"sample": (0.0, 0.35), "schedule": (0.35, 0.2), "pack": (0.55, 0.45)}


class Planner:
    """Makes one plan. Construct, then `run`; the same input and options resume. The graph and tables stay the
    caller's, and open until `run` has returned."""

    def __init__(
        self,
        graph_name: str,
        graph: Graph,
        tables: Mapping[str, PlanTable],
        sampler: NeighborSampler,
        epochs: Epochs,
        options: PlanOptions,
        reader: str = "auto",
        carried: Mapping[str, CarriedCache] | None = None,
    ) -> None:
        """tables: by node type. carried: for a plan of one shard in a chain of them, what the caches hold where the one
        before ends, by node type; empty for the first plan of a chain. None: the plan stands alone.

        Raises InvalidArgument, ResourceExhausted for too little memory to make the plan.
        """
        self._carried = None if carried is None else dict(carried)
        self.caches: dict[str, CarriedCache] = {}  # where this one ends; filled by `run`, where they are carried
        self._input = PlanInput(graph_name, graph, dict(tables), sampler, epochs, options, self._carried)
        self._graph, self._tables, self._sampler = graph, dict(tables), sampler
        self._epochs, self._options, self._reader = epochs, options, reader
        self._numbers = {name: number for number, name in enumerate(graph.node_types)}
        self._input.check()

    def job_id(self, plan_id: str) -> str:
        """Return the name under which this plan can be resumed. Budgets for making it are not a part of that."""
        digest = hashlib.sha256(
            json.dumps([self._input.fingerprint(), self._options.cache_bytes, self._options.replayed]).encode()
        )
        return f"plan-{plan_id}-{digest.hexdigest()[:16]}"

    def run(self, writer: VersionWriter, report: Callable[[Progress], None]) -> Manifest:
        """Make the plan in the writer's folders and commit. `report` may raise to stop; what is finished is kept.

        Raises ResourceExhausted when disk or memory would be passed, before the stage that would do so.
        """
        costs = StageCosts(writer.scratch / "costs.json")
        slots, curves = self._sample(writer, costs, report)
        scheduled = self._schedule(writer, slots, costs, report)
        if self._carried is not None:
            ends = carried_caches(writer.scratch, self._streams(slots))
            self.caches = {t: end for t, end in zip(self._tables, ends, strict=True) if end is not None}
        logs, temporary = self._pack(writer, scheduled, costs, report)
        properties = self._properties(scheduled, slots, curves, logs, costs.plan_cost(temporary))
        report(Progress("commit", 1.0, None))
        return writer.commit([*scheduled.files, *logs], properties.to_json())

    # Stages

    def _sample(
        self, writer: VersionWriter, costs: StageCosts, report: Callable[[Progress], None]
    ) -> tuple[list[int], list[MissCurve]]:
        """Sample all minibatches, and share the cache among the tables by what each would miss."""
        folder = writer.scratch
        note = folder / "shares.json"
        if not note.exists():
            with costs.measured("sample"):
                self._sample_trace(writer, self._tick("sample", report))
            with costs.measured("schedule"), Trace(folder) as trace:
                curves = {node_type: self._curve(trace, node_type) for node_type in self._tables}
            row_bytes = {node_type: planned.table.row_bytes for node_type, planned in self._tables.items()}
            shares = share_memory(curves, row_bytes, self._options.cache_bytes)
            if self._carried is not None:
                shares = self._shares_of_chain(dict(shares), row_bytes)
            fields = {t: [shares[t], curves[t].points().to_json()] for t in self._tables}
            write_atomically(note, json.dumps(fields).encode())
        found = json.loads(note.read_text())
        points = [CurvePoints.from_json(found[t][1]) for t in self._tables]
        return [found[t][0] for t in self._tables], [MissCurve.of(curve) for curve in points]

    def _sample_trace(self, writer: VersionWriter, tick: Callable[[float], None]) -> None:
        disk = self._disk(writer)

        def check(fraction: float, num_bytes: int) -> None:
            disk.check_trace(fraction, num_bytes)
            tick(fraction)

        sample_trace(writer.scratch, self._sampler, self._epochs, self._options.threads, check)
        self._sampler.release()

    def _shares_of_chain(self, shares: dict[str, int], row_bytes: Mapping[str, int]) -> dict[str, int]:
        """Shares stay the same along a chain, and all memory is used: what one epoch has no use for, the next may."""
        if self._carried:
            return {node_type: cache.num_slots for node_type, cache in self._carried.items()}
        left = self._options.cache_bytes - sum(row_bytes[t] * share for t, share in shares.items())
        for node_type, planned in self._tables.items():
            more = min(planned.table.num_rows - shares[node_type], left // row_bytes[node_type])
            shares[node_type] += more
            left -= more * row_bytes[node_type]
        return shares

    def _disk(self, writer: VersionWriter) -> DiskBudget:
        return DiskBudget(self._options.disk_bytes, writer.folder)

    def _curve(self, trace: Trace, node_type: str) -> MissCurve:
        number = self._numbers[node_type]
        requests = (trace.record(position).nodes[number] for position in range(len(trace)))
        return miss_curve(requests, self._tables[node_type].table.num_rows, num_threads=self._options.threads)

    def _schedule(
        self, writer: VersionWriter, slots: list[int], costs: StageCosts, report: Callable[[Progress], None]
    ) -> Scheduled:
        if (found := scheduled_before(writer.scratch)) is not None:
            return found
        streams = self._streams(slots)
        orders = [[position for epoch in shard for position in epoch] for shard in self._orders()]
        with costs.measured("schedule"), Trace(writer.scratch) as trace:
            tick = self._tick("schedule", report)
            return schedule_trace(writer.folder, writer.scratch, trace, orders, streams, tick, self._options.replayed)

    def _streams(self, slots: list[int]) -> list[CachedStream]:
        def carried(node_type: str, num_slots: int) -> CarriedCache | None:
            nothing: UInt32Array = np.empty(0, np.uint32)
            return (
                None
                if self._carried is None
                else self._carried.get(node_type, CarriedCache(num_slots, nothing, nothing))
            )

        return [
            CachedStream(
                self._numbers[node_type],
                planned.table.num_rows,
                planned.table.row_bytes,
                num_slots,
                carried(node_type, num_slots),
            )
            for (node_type, planned), num_slots in zip(self._tables.items(), slots, strict=True)
        ]

    def _pack(
        self, writer: VersionWriter, scheduled: Scheduled, costs: StageCosts, report: Callable[[Progress], None]
    ) -> tuple[list[FileEntry], int]:
        misses = [
            Misses(*missed_keys(writer.scratch, k), p.table.row_bytes) for k, p in enumerate(self._tables.values())
        ]
        forget_next_uses(writer.scratch, len(misses))
        forget_trace(writer.scratch)
        temporary = [temporary_bytes(m, choose_groups(m, self._options.pack_bytes)) for m in misses]
        self._disk(writer).check_logs(scheduled, misses, max(temporary))
        total, done, logs = max(1, sum(m.log_bytes for m in misses)), 0, []
        with costs.measured("pack"):
            for k, (planned, m) in enumerate(zip(self._tables.values(), misses, strict=True)):
                tick = self._tick("pack", report, done / total, m.log_bytes / total)
                logs.append(self._pack_log(writer, k, planned.table, m, costs, tick))
                done += m.log_bytes
        return logs, sum(temporary)

    def _pack_log(
        self,
        writer: VersionWriter,
        k: int,
        table: FeatureTable,
        misses: Misses,
        costs: StageCosts,
        tick: Callable[[float], None],
    ) -> FileEntry:
        budget = Accountant(1 << 62)  # the checksum tables of two files; the packer keeps its own budget
        target, scratch = writer.folder / f"log-{k}.blk", writer.scratch / f"pack-{k}"
        with StorageReader(budget, self._reader, buffer_bytes=64 << 10) as reader:
            packer = LogPacker(reader, table.file, table.num_rows, misses, target, scratch, self._options.pack_bytes)
            try:
                return packer.run(tick)
            finally:
                costs.add(read_bytes=packer.cost.read_bytes, written_bytes=packer.cost.written_bytes)

    # Words

    def _orders(self) -> list[list[list[int]]]:
        return orders_of_use(self._epochs.num_epochs, len(self._epochs.batches), self._options.num_shards)

    def _tick(
        self, stage: str, report: Callable[[Progress], None], begin: float = 0.0, share: float = 1.0
    ) -> Callable[[float], None]:
        first, length = _STAGES[stage]
        return lambda done: report(Progress(stage, first + length * (begin + share * min(1.0, done)), None))

    def _properties(
        self, scheduled: Scheduled, slots: list[int], curves: list[MissCurve], logs: list[FileEntry], cost: PlanCost
    ) -> PlanProperties:
        begins, shards = 0, []
        for shard in self._orders():
            epochs = [begins]
            for epoch in shard:
                begins += len(epoch)
                epochs.append(begins)
            shards.append(tuple(epochs))
        streams = tuple(
            StreamProperties(
                name=planned.name,
                node_type=node_type,
                codec=planned.table.codec.to_json(),
                num_rows=planned.table.num_rows,
                row_bytes=planned.table.row_bytes,
                num_slots=num_slots,
                log=log.name,
                **{name: getattr(counts, name) for name in type(counts).__slots__ if name != "pinned"},
                pinned=tuple(counts.pinned),
                curve=curve.points(),
            )
            for (node_type, planned), num_slots, curve, log, counts in zip(
                self._tables.items(), slots, curves, logs, scheduled.streams, strict=True
            )
        )
        return PlanProperties(
            fingerprint=self._input.fingerprint(),
            node_counts=dict(self._graph.node_types),
            edge_types=tuple(self._graph.edge_types),
            streams=streams,
            shards=tuple(shards),
            cache_bytes=self._options.cache_bytes,
            minibatch_bytes=scheduled.files[0].size_bytes,
            largest_record_bytes=scheduled.largest_record_bytes,
            cost=cost,
        )
