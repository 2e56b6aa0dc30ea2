"""What one stored object holds and has read, whatever its kind: the numbers that metrics are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from outcrop.embedded import CollectionStatistics
from outcrop.gnn_loader import FeatureStatistics, LoaderStatistics, OnlineStatistics
from outcrop.store import Manifest

DEVICE = "device"  # the last tier


@dataclass(frozen=True, slots=True)
class ObjectUsage:
    """One object, opened or not. Counters start anew whenever it is opened.

    memory: bytes by owner; none while it is closed. lookups: lists or rows asked for, by the tier that held them, the
    last of which is "device". reads, read_bytes: of the device.
    """

    kind: str
    name: str
    version: int | None = None
    num_rows: int = 0
    disk_bytes: int = 0
    memory: Mapping[str, int] = field(default_factory=dict)
    lookups: Mapping[str, int] = field(default_factory=dict)
    reads: int = 0
    read_bytes: int = 0


def collection_usage(usage: ObjectUsage, statistics: CollectionStatistics) -> ObjectUsage:
    """usage: what is known of a closed one. statistics: of the same one, open."""
    index, reader = statistics.index, statistics.reader
    return replace(
        usage,
        memory=dict(statistics.memory.owners),
        lookups={"list cache": index.cache_hits, DEVICE: index.cache_misses},
        reads=reader.reads,
        read_bytes=reader.read_bytes,
    )


def features_usage(name: str, manifest: Manifest | None, statistics: FeatureStatistics | None) -> ObjectUsage:
    """statistics: None while the table is closed. A table that is fetched from keeps no rows in memory."""
    usage = stored_usage("features", name, manifest)
    if statistics is None:
        return usage
    return replace(usage, lookups={DEVICE: statistics.rows}, reads=statistics.reads, read_bytes=statistics.read_bytes)


def stored_usage(
    kind: str, name: str, manifest: Manifest | None, memory: Mapping[str, int] | None = None
) -> ObjectUsage:
    """A graph, a plan or any other object. manifest: None before its first version. memory: while it is open."""
    if manifest is None:
        return ObjectUsage(kind, name)
    num_rows = manifest.properties.get("num_rows", 0)
    return ObjectUsage(kind, name, manifest.version, num_rows, manifest.size_bytes, memory=memory or {})


def planned_lookups(statistics: LoaderStatistics) -> dict[str, int]:
    """Rows of all tables by where a planned loader found them; a log is read from the device."""
    streams = statistics.streams.values()
    return {"plan cache": sum(each.hit_rows for each in streams), DEVICE: sum(each.log_rows for each in streams)}


def online_lookups(statistics: OnlineStatistics) -> dict[str, int]:
    """Rows of all tables by the tier that an online loader found them in; the last is the master file."""
    tiers = statistics.tiers.values()
    return {
        "hot set": sum(each.hot_rows for each in tiers),
        "cache": sum(each.cache_rows + each.repeated_rows for each in tiers),
        "victim buffer": sum(each.victim_rows for each in tiers),
        DEVICE: sum(each.master_rows for each in tiers),
    }
