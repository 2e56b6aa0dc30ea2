"""From what a plan is made, within which budgets; whether that can be, and how it is told from others."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument, ResourceExhausted
from outcrop.gnn_loader.features import FeatureTable
from outcrop.gnn_loader.graph import Graph
from outcrop.gnn_loader.plan_properties import seeds_fingerprint
from outcrop.gnn_loader.planning.recipes import CarriedCache
from outcrop.gnn_loader.planning.trace import Epochs
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.store import format_bytes


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Budgets and shards of a plan.

    cache_bytes: memory for cached rows while training; a part of the plan. pack_bytes: memory for making the plan.
    disk_bytes: for the plan and what making it needs; None is what the device has. num_shards: sequences, one for each
    trainer; minibatches of an epoch are dealt to them round robin. replayed: whether loaders will go through the plan
    more than once; the rows wanted most may then stay in the cache from the beginning of each pass.
    """

    cache_bytes: int
    pack_bytes: int = 256 << 20
    disk_bytes: int | None = None
    num_shards: int = 1
    threads: int = 1
    replayed: bool = True


@dataclass(frozen=True, slots=True)
class PlanTable:
    """A feature table of a plan: its name in the root, and the table."""

    name: str
    table: FeatureTable


@dataclass(frozen=True, slots=True)
class PlanInput:
    """All of it. tables: by node type. carried: see `Planner`."""

    graph_name: str
    graph: Graph
    tables: Mapping[str, PlanTable]
    sampler: NeighborSampler
    epochs: Epochs
    options: PlanOptions
    carried: Mapping[str, CarriedCache] | None = None

    def check(self) -> None:
        """Raise InvalidArgument for what does not fit together, ResourceExhausted for too little memory."""
        options = self.options
        if not self.tables:
            raise InvalidArgument("features: expected a table for at least one node type, found none")
        for node_type, planned in self.tables.items():
            if node_type not in self.graph.node_types:
                raise InvalidArgument(
                    f"features: expected node types of {list(self.graph.node_types)}, found {node_type!r}"
                )
            num_nodes = self.graph.node_types[node_type]
            if planned.table.num_rows < num_nodes:
                raise InvalidArgument(
                    f"features {planned.name!r}: expected a row for each of the {num_nodes} nodes of type "
                    f"{node_type!r}, found {planned.table.num_rows}"
                )
        if options.num_shards < 1 or options.num_shards > max(1, len(self.epochs.batches)):
            raise InvalidArgument(
                f"num_shards: expected 1 to {len(self.epochs.batches)}, the minibatches of an epoch; "
                f"found {options.num_shards}"
            )
        if self.epochs.num_epochs < 1 or not len(self.epochs):
            raise InvalidArgument("plan: expected at least one epoch with a minibatch, found none")
        if self.carried is not None and options.num_shards != 1:
            raise InvalidArgument(f"num_shards: expected 1 for a plan of a chain, found {options.num_shards}")
        if options.cache_bytes < 0:
            raise InvalidArgument(f"cache memory: expected no negative size, found {options.cache_bytes}")
        least = self.least_memory()
        if options.pack_bytes < least:
            raise ResourceExhausted(
                f"plan: expected at least {format_bytes(least)} of memory for making it (4 bytes per row of all tables "
                f"for scheduling and 24 per cached row, or 10 per row of the largest table, or four rows), found "
                f"{format_bytes(options.pack_bytes)}"
            )

    def least_memory(self) -> int:
        """Return the bytes without which no plan can be made of it."""
        rows = [planned.table.num_rows for planned in self.tables.values()]
        cached = sum(self._most_slots(planned.table) for planned in self.tables.values())
        scheduling = max(4 * sum(rows) + 24 * cached, 10 * max(rows)) + (8 << 20)
        segments = len(self.epochs) * (self.sampler.num_hops + 1)
        at_once = int(np.ceil(np.sqrt(segments)))  # with two levels of distribution
        packing = max(native.least_pack_memory(at_once, planned.table.row_bytes) for planned in self.tables.values())
        return max(scheduling, packing, 16 << 20)

    def _most_slots(self, table: FeatureTable) -> int:
        return min(table.num_rows, self.options.cache_bytes // max(1, table.row_bytes))

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells this plan's minibatches and tables from others, in JSON's types."""
        graph, batches = self.graph.manifest, self.epochs.batches
        return {
            "graph": {"name": self.graph_name, "id": graph.object_id, "version": graph.version},
            "tables": {
                node_type: {
                    "name": planned.name,
                    "id": planned.table.manifest.object_id,
                    "version": planned.table.manifest.version,
                }
                for node_type, planned in self.tables.items()
            },
            "sampler": self.sampler.options.as_json(),
            "seeds": seeds_fingerprint(batches.seeds),
            "batch_size": batches.batch_size,
            "shuffle": batches.shuffle,
            "drop_last": batches.drop_last,
            "seed": batches.seed,
            "first_epoch": self.epochs.first_epoch,
            "num_epochs": self.epochs.num_epochs,
            "num_shards": self.options.num_shards,
            **({} if self.carried is None else {"carried": self._carried_digest()}),
        }

    def _carried_digest(self) -> str:
        """Tells what the caches hold at first; empty when they hold nothing."""
        digest = hashlib.sha256()
        if not self.carried:
            return ""
        for node_type, cache in self.carried.items():
            digest.update(node_type.encode() + cache.keys.tobytes() + cache.slots.tobytes())
        return digest.hexdigest()
