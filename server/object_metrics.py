"""Numbers of stored objects: what they hold, which tier answered, what was read from the device."""

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from outcrop.server.object_usage import ObjectUsage

DROPPED: Final = -1
_OBJECT: Final = ["kind", "name"]


class ObjectMetrics:
    """Counters of the engine begin anew with each opening; those here never fall. For any number of threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, namespace="outcrop", registry=registry)
        gauge = partial(Gauge, namespace="outcrop", registry=registry)
        self._lookups = counter("tier_lookups", "Lists and rows, by the tier that held them.", [*_OBJECT, "tier"])
        self._reads = counter("device_reads", "Reads given to the device.", _OBJECT)
        self._read_bytes = counter("device_read_bytes", "Bytes of those reads.", _OBJECT)
        self._memory = gauge(
            "memory_bytes", "Held of the budget, by owner.", [*_OBJECT, "owner"], multiprocess_mode="livesum"
        )
        # Every process knows the same of these.
        facts = partial(gauge, labelnames=_OBJECT, multiprocess_mode="livemax")
        self._rows = facts("object_rows", "Rows of the current version.")
        self._disk = facts("object_disk_bytes", "Of the current version.")
        self._version = facts("object_version", f"Current version; 0 before the first, {DROPPED} once dropped.")
        self._lock = threading.Lock()
        self._before: dict[tuple[str, str], ObjectUsage] = {}

    def looked_up(self, kind: str, name: str, tiers: Mapping[str, int]) -> None:
        """Add rows or lists found since it was last said, by tier."""
        for tier, count in tiers.items():
            self._lookups.labels(kind, name, tier).inc(count)

    def device_read(self, kind: str, name: str, reads: int, num_bytes: int) -> None:
        """Add reads of the device since it was last said."""
        self._reads.labels(kind, name).inc(reads)
        self._read_bytes.labels(kind, name).inc(num_bytes)

    def observe(self, usages: Iterable[ObjectUsage]) -> None:
        """Copy what is known of all objects now."""
        with self._lock:
            now = {(usage.kind, usage.name): usage for usage in usages}
            for key, before in self._before.items():
                if key not in now:
                    self._forget(before)
            for key, usage in now.items():
                if usage != self._before.get(key):  # most of a large root is idle, and a number costs microseconds
                    self._copy(usage, self._before.get(key, ObjectUsage(*key)))
            self._before = now

    def _copy(self, usage: ObjectUsage, before: ObjectUsage) -> None:
        kind, name = usage.kind, usage.name
        self._rows.labels(kind, name).set(usage.num_rows)
        self._disk.labels(kind, name).set(usage.disk_bytes)
        self._version.labels(kind, name).set(usage.version or 0)
        for owner in {*before.memory, *usage.memory}:
            self._memory.labels(kind, name, owner).set(usage.memory.get(owner, 0))
        self.device_read(kind, name, growth(before.reads, usage.reads), growth(before.read_bytes, usage.read_bytes))
        self.looked_up(kind, name, {tier: growth(before.lookups.get(tier, 0), n) for tier, n in usage.lookups.items()})

    def _forget(self, dropped: ObjectUsage) -> None:
        """Counters stay, as Prometheus expects; where files are shared among processes nothing could be removed."""
        labels = dropped.kind, dropped.name
        self._rows.labels(*labels).set(0)
        self._disk.labels(*labels).set(0)
        self._version.labels(*labels).set(DROPPED)
        for owner in dropped.memory:
            self._memory.labels(*labels, owner).set(0)


def growth(before: int, now: int) -> int:
    """What was counted in between; a lower number comes from an object that was opened anew."""
    return now - before if now >= before else now
