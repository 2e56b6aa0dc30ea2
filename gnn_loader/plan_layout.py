"""Where the minibatches of a plan lie: what a loader must know of it, in plain values that travel between processes."""

from dataclasses import dataclass
from pathlib import Path

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.codecs import RowCodec
from outcrop.types import EdgeType

RECORDS = "minibatches.blk"
OFFSETS = "offsets.blk"


@dataclass(frozen=True, slots=True)
class PlannedStream:
    """A node type with its feature table.

    name: the table's, as in `Minibatch.features`. num_slots: rows of the cache that the plan was made for. max_rows: of
    any minibatch. log: the file's name. pinned: by shard, how many rows are in the first slots from the beginning, and
    where they lie in the log; () is none.
    """

    name: str
    node_type: str
    codec: RowCodec
    num_slots: int
    max_rows: int
    log: str
    pinned: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanLayout:
    """A version of a plan.

    root: the folder. node_counts: by type, in the graph's order, as are edge_types. shards: of each, where its epochs
    begin among the plan's records, and where the last one ends. carried: its caches begin with what those of the plan
    before it held.
    """

    root: Path
    name: str
    plan_id: str
    version: int
    node_counts: dict[str, int]
    edge_types: tuple[EdgeType, ...]
    streams: tuple[PlannedStream, ...]
    shards: tuple[tuple[int, ...], ...]
    carried: bool = False

    def epochs(self, shard: int) -> tuple[int, ...]:
        """Return where the epochs of a shard begin, and where the last one ends. Raises InvalidArgument."""
        if not 0 <= shard < len(self.shards):
            raise InvalidArgument(
                f"plan {self.name!r} has {len(self.shards)} shards: expected 0 to {len(self.shards) - 1}, found {shard}"
            )
        return self.shards[shard]
