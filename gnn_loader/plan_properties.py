"""What a plan's manifest says of it: from what it was made, what it holds, what it cost. docs/formats/plan.md."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from outcrop.errors import UnsupportedFormat
from outcrop.types import CurvePoints, EdgeType, NodeSeeds, PlanCost, Seeds

FORMAT = 1


@dataclass(frozen=True, slots=True)
class StreamProperties:
    """A node type with its table. num_slots: rows of the cache. max_rows: of any minibatch. log, log_bytes: the file
    and its payload. accesses, misses, inserts: rows, over all minibatches. pinned: by shard, how many rows are in the
    first slots from the beginning, and where they lie in the log."""

    name: str
    node_type: str
    codec: Mapping[str, Any]
    num_rows: int
    row_bytes: int
    num_slots: int
    max_rows: int
    log: str
    log_bytes: int
    accesses: int
    misses: int
    inserts: int
    pinned: tuple[tuple[int, int], ...]
    curve: CurvePoints

    @property
    def pinned_bytes(self) -> int:
        """Of the log, what is read once, when a loader begins."""
        return sum(count for count, _ in self.pinned) * self.row_bytes


@dataclass(frozen=True, slots=True)
class PlanProperties:
    """All of it. shards: of each, where its epochs begin among the records, and where the last one ends."""

    fingerprint: Mapping[str, Any]
    node_counts: Mapping[str, int]
    edge_types: tuple[EdgeType, ...]
    streams: tuple[StreamProperties, ...]
    shards: tuple[tuple[int, ...], ...]
    cache_bytes: int
    minibatch_bytes: int
    largest_record_bytes: int
    cost: PlanCost

    @property
    def num_epochs(self) -> int:
        """Of every shard."""
        return len(self.shards[0]) - 1

    @property
    def num_minibatches(self) -> int:
        """Of all shards and epochs."""
        return self.shards[-1][-1]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        fields = asdict(self)
        fields |= {"format": FORMAT, "node_counts": list(self.node_counts.items())}
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "PlanProperties":
        """The inverse of `to_json`. Raises UnsupportedFormat."""
        if fields.get("format") != FORMAT:
            raise UnsupportedFormat(f"plan: format {fields.get('format')}, this release reads format {FORMAT}")
        streams = tuple(
            StreamProperties(
                **{
                    **stream,
                    "pinned": tuple((count, begin) for count, begin in stream["pinned"]),
                    "curve": CurvePoints.from_json(stream["curve"]),
                }
            )
            for stream in fields["streams"]
        )
        return cls(
            fingerprint=fields["fingerprint"],
            node_counts={name: int(count) for name, count in fields["node_counts"]},
            edge_types=tuple((src, relation, dst) for src, relation, dst in fields["edge_types"]),
            streams=streams,
            shards=tuple(tuple(shard) for shard in fields["shards"]),
            cache_bytes=fields["cache_bytes"],
            minibatch_bytes=fields["minibatch_bytes"],
            largest_record_bytes=fields["largest_record_bytes"],
            cost=PlanCost(**fields["cost"]),
        )


def seeds_fingerprint(seeds: Seeds) -> dict[str, Any]:
    """Return what tells one set of seeds from another: kind, type, number, and a digest of ids and times."""
    ids = seeds.ids if isinstance(seeds, NodeSeeds) else seeds.pairs
    digest = hashlib.sha256(ids.tobytes())
    if seeds.times is not None:
        digest.update(b"times" + seeds.times.tobytes())
    if isinstance(seeds, NodeSeeds):
        kind: dict[str, Any] = {"kind": "nodes", "type": seeds.node_type}
    else:
        kind = {"kind": "links", "type": list(seeds.edge_type), "negatives": seeds.negatives}
    return {**kind, "count": len(seeds), "digest": digest.hexdigest()}
