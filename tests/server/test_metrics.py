"""What handlers record and the engine counts comes out under stable names."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage
from outcrop.server.scrape import SharedMetrics

DOCS = {"kind": "collections", "name": "docs"}


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def value(metrics: ServerMetrics) -> Callable[..., float | None]:
    def look(metric: str, /, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"outcrop_{metric}", labels)

    return look


def test_a_call_is_in_flight_until_it_ends(metrics: ServerMetrics, value: Callable[..., float]) -> None:
    search = metrics.method("VectorService/Search")
    method = {"method": "VectorService/Search"}

    search.begin()
    search.begin()
    search.received(100)
    search.end("OK", 0.0002)
    search.sent(30)

    assert metrics.method("VectorService/Search") is search
    assert value("rpc_in_flight", **method) == 1
    assert value("rpc_calls_total", **method, code="OK") == 1
    assert value("rpc_seconds_count", **method) == 1
    assert value("rpc_seconds_bucket", **method, le="0.00016") == 0
    assert value("rpc_seconds_bucket", **method, le="0.000256") == 1
    assert (value("rpc_received_bytes_total", **method), value("rpc_sent_bytes_total", **method)) == (100, 30)


def test_a_method_that_was_never_called_has_no_numbers(value: Callable[..., float | None]) -> None:
    assert value("rpc_seconds_count", method="VectorService/Search") is None


def test_the_queue_batches_and_refusals_are_counted(metrics: ServerMetrics, value: Callable[..., float]) -> None:
    metrics.queued(3, 4096)
    metrics.shed("queue")
    metrics.batch(queries=12, calls=4)

    assert (value("queue_calls"), value("queue_bytes")) == (3, 4096)
    assert value("shed_calls_total", reason="queue") == 1
    assert value("batch_queries_sum") == 12
    assert value("batch_calls_bucket", le="2.0") == 0
    assert value("batch_calls_bucket", le="4.0") == 1


def test_counters_of_the_engine_never_fall_when_an_object_is_opened_anew(
    metrics: ServerMetrics, value: Callable[..., float]
) -> None:
    opened = ObjectUsage(
        **DOCS,
        version=2,
        num_rows=10,
        disk_bytes=99,
        memory={"centroids": 5},
        lookups={"device": 7},
        reads=7,
        read_bytes=70,
    )
    reopened = ObjectUsage(**DOCS, version=3, memory={"directory": 4}, lookups={"device": 2}, reads=2, read_bytes=20)

    metrics.observe([opened])
    metrics.observe([opened])
    assert value("device_reads_total", **DOCS) == 7
    assert value("object_version", **DOCS) == 2
    metrics.observe([ObjectUsage(**DOCS, version=2)])
    metrics.observe([reopened])

    assert value("device_reads_total", **DOCS) == 9
    assert value("device_read_bytes_total", **DOCS) == 90
    assert value("tier_lookups_total", **DOCS, tier="device") == 9
    assert value("memory_bytes", **DOCS, owner="centroids") == 0
    assert value("memory_bytes", **DOCS, owner="directory") == 4
    assert value("object_version", **DOCS) == 3
    assert value("resident_bytes") > 1 << 20


def test_a_dropped_object_holds_nothing(metrics: ServerMetrics, value: Callable[..., float]) -> None:
    metrics.observe([ObjectUsage(**DOCS, version=1, num_rows=3, disk_bytes=8, memory={"centroids": 5})])

    metrics.observe([])

    facts = [value(f"object_{name}", **DOCS) for name in ("rows", "disk_bytes", "version")]
    assert facts == [0, 0, -1]
    assert value("memory_bytes", **DOCS, owner="centroids") == 0


def test_an_object_that_comes_back_counts_on(metrics: ServerMetrics, value: Callable[..., float]) -> None:
    for usages in ([ObjectUsage(**DOCS, reads=3)], [], [ObjectUsage(**DOCS, reads=2)]):
        metrics.observe(usages)

    assert value("device_reads_total", **DOCS) == 5


def test_what_loaders_and_fetches_say_is_added(metrics: ServerMetrics, value: Callable[..., float]) -> None:
    plan = {"kind": "plans", "name": "p"}
    for _ in range(2):
        metrics.looked_up("plans", "p", {"plan cache": 3, "device": 1})
        metrics.device_read("plans", "p", 1, 4096)

    assert value("tier_lookups_total", **plan, tier="plan cache") == 6
    assert (value("device_reads_total", **plan), value("device_read_bytes_total", **plan)) == (2, 8192)


WORKER = """
import sys
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage
metrics = ServerMetrics()
search = metrics.method("VectorService/Search")
search.begin(); search.begin(); search.end("OK", 0.01)
metrics.observe([ObjectUsage("collections", "docs", version=4, memory={"centroids": 10}, reads=3)])
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_numbers_of_several_processes_are_added_up_and_the_dead_hold_nothing() -> None:
    with SharedMetrics() as shared:
        command = [sys.executable, "-c", WORKER]
        workers = [
            subprocess.Popen(
                command, env=os.environ | shared.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * 2
        both = _summary(shared.registry)
        workers[0].communicate()
        shared.forget(workers[0].pid)
        one = _summary(shared.registry)
        workers[1].communicate()

    assert both == {"calls": 2, "in flight": 2, "memory": 20, "reads": 6, "version": 4}
    assert one == {"calls": 2, "in flight": 1, "memory": 10, "reads": 6, "version": 4}


def _summary(registry: CollectorRegistry) -> dict[str, float | None]:
    method = {"method": "VectorService/Search"}
    return {
        "calls": registry.get_sample_value("outcrop_rpc_calls_total", method | {"code": "OK"}),
        "in flight": registry.get_sample_value("outcrop_rpc_in_flight", method),
        "memory": registry.get_sample_value("outcrop_memory_bytes", DOCS | {"owner": "centroids"}),
        "reads": registry.get_sample_value("outcrop_device_reads_total", DOCS),
        "version": registry.get_sample_value("outcrop_object_version", DOCS),
    }
