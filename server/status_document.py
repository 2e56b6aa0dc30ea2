"""What the status page shows, as plain JSON: every number comes from the registry, so one process or many are alike."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from outcrop.server.object_metrics import DROPPED

_OBJECT_FACTS = {"outcrop_object_rows": "num_rows", "outcrop_object_disk_bytes": "disk_bytes"}
_OBJECT_COUNTS = {"outcrop_device_reads_total": "reads", "outcrop_device_read_bytes_total": "read_bytes"}


def status_document(registry: CollectorRegistry, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document whose counters only grow; who polls it makes rates of differences.

    info: what is said of the server itself. Latencies are cumulative buckets [upper bound in seconds, count].
    """
    samples = defaultdict(list)
    for sample in _samples(registry):
        samples[sample.name].append(sample)

    def one(name: str) -> float:
        return sum(sample.value for sample in samples[f"outcrop_{name}"])

    return {
        "unix": time.time(),
        "server": dict(info),
        "methods": _methods(samples),
        "queue": {"calls": one("queue_calls"), "bytes": one("queue_bytes")},
        "shed": {sample.labels["reason"]: sample.value for sample in samples["outcrop_shed_calls_total"]},
        "searches": {"queries": one("batch_queries_sum"), "core_calls": one("batch_queries_count")},
        "resident_bytes": one("resident_bytes"),
        "objects": _objects(samples),
    }


def _samples(registry: CollectorRegistry) -> Iterator[Sample]:
    for family in registry.collect():
        yield from family.samples


def _methods(samples: Mapping[str, list[Sample]]) -> list[dict[str, Any]]:
    methods: dict[str, dict[str, Any]] = {}

    def of(sample: Sample) -> dict[str, Any]:
        name = sample.labels["method"]
        return methods.setdefault(name, {"name": name, "in_flight": 0, "codes": {}, "buckets": []})

    for sample in samples["outcrop_rpc_in_flight"]:
        of(sample)["in_flight"] = sample.value
    for sample in samples["outcrop_rpc_calls_total"]:
        of(sample)["codes"][sample.labels["code"]] = sample.value
    for sample in samples["outcrop_rpc_seconds_bucket"]:
        if sample.labels["le"] != "+Inf":
            of(sample)["buckets"].append([float(sample.labels["le"]), sample.value])
    for method in methods.values():
        method["buckets"].sort()
    return [methods[name] for name in sorted(methods)]


def _objects(samples: Mapping[str, list[Sample]]) -> list[dict[str, Any]]:
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    for sample in samples["outcrop_object_version"]:
        if sample.value != DROPPED:
            kind, name = sample.labels["kind"], sample.labels["name"]
            objects[kind, name] = {"kind": kind, "name": name, "version": sample.value, "memory": {}, "lookups": {}}
    for field, sample in _object_samples(samples):
        found = objects.get((sample.labels["kind"], sample.labels["name"]))
        if found is not None and "owner" in sample.labels:
            found["memory"][sample.labels["owner"]] = sample.value
        elif found is not None and "tier" in sample.labels:
            found["lookups"][sample.labels["tier"]] = sample.value
        elif found is not None:
            found[field] = sample.value
    return [objects[key] for key in sorted(objects)]


def _object_samples(samples: Mapping[str, list[Sample]]) -> Iterator[tuple[str, Sample]]:
    more = {"outcrop_memory_bytes": "memory", "outcrop_tier_lookups_total": "lookups"}
    for name, field in (_OBJECT_FACTS | _OBJECT_COUNTS | more).items():
        yield from ((field, sample) for sample in samples[name])
