"""What the loader behind a stream finds in its tiers and reads, told as it goes: its object is never open by itself."""

from dataclasses import dataclass, field

from outcrop.gnn_loader import FreshStatistics, LoaderStatistics, OnlineStatistics
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_metrics import growth
from outcrop.server.object_usage import online_lookups, planned_lookups

LoaderNumbers = LoaderStatistics | OnlineStatistics | FreshStatistics


@dataclass(slots=True)
class LoaderMeter:
    """Of one loader. kind, name: of the stored object that its numbers are counted for. For one caller at a time."""

    metrics: ServerMetrics
    kind: str
    name: str
    _before: dict[str, int] = field(default_factory=dict)
    _read: tuple[int, int] = (0, 0)

    def look(self, statistics: LoaderNumbers) -> None:
        """Add what has been done since the last look. Numbers that fell are those of a next epoch's loader."""
        lookups, read = _lookups(statistics), _reads(statistics)
        grown = {tier: growth(self._before.get(tier, 0), count) for tier, count in lookups.items()}
        self.metrics.looked_up(self.kind, self.name, grown)
        reads, num_bytes = (growth(*pair) for pair in zip(self._read, read, strict=True))
        self.metrics.device_read(self.kind, self.name, reads, num_bytes)
        self._before, self._read = lookups, read


def _lookups(statistics: LoaderNumbers) -> dict[str, int]:
    if isinstance(statistics, OnlineStatistics):
        return online_lookups(statistics)
    return planned_lookups(statistics.loader if isinstance(statistics, FreshStatistics) else statistics)


def _reads(statistics: LoaderNumbers) -> tuple[int, int]:
    if isinstance(statistics, OnlineStatistics):
        tiers = statistics.tiers.values()
        reads = sum(each.master_reads + each.victim.reads for each in tiers)
        return reads, sum(each.master_bytes + each.victim.bytes_read for each in tiers)
    planned = statistics.loader if isinstance(statistics, FreshStatistics) else statistics
    return planned.device_reads, planned.device_bytes
