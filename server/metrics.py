"""What has the server done, and what is it doing? Numbers for Prometheus and for the status page.

Handlers record calls as they happen. What the engine counts itself is copied by `observe`: before a scrape where one
process serves, every few seconds where there are several. Those write to files in a folder that the variable
PROMETHEUS_MULTIPROC_DIR names before this module is imported, and scrape.py adds them up.
"""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from outcrop.server.object_metrics import ObjectMetrics
from outcrop.server.object_usage import ObjectUsage

# Three buckets for each factor of four: percentiles of the status page are right within a quarter.
LATENCY_SECONDS: Final = tuple(round(1e-4 * 1.6**step, 7) for step in range(30))  # 0.1 ms to 83 s
_BATCH_SIZES: Final = tuple(2.0**step for step in range(15))  # to 16,384, the most queries of a call
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class MethodMeter:
    """The numbers of one RPC, looked up once. For any number of threads."""

    def __init__(self, metrics: "ServerMetrics", method: str) -> None:
        """Use `ServerMetrics.method`."""
        self._in_flight = metrics.in_flight.labels(method)
        self._seconds = metrics.seconds.labels(method)
        self._received = metrics.received_bytes.labels(method)
        self._sent = metrics.sent_bytes.labels(method)
        self._calls, self._method = metrics.calls, method

    def begin(self) -> None:
        """A call has come in. One `end` follows each."""
        self._in_flight.inc()

    def end(self, code: str, seconds: float) -> None:
        """It was answered with the gRPC status `code` (OK, NOT_FOUND, ...), `seconds` after it came in."""
        self._in_flight.dec()
        self._seconds.observe(seconds)
        self._calls.labels(self._method, code).inc()

    def received(self, num_bytes: int) -> None:
        """A message of the client had this length on the wire."""
        self._received.inc(num_bytes)

    def sent(self, num_bytes: int) -> None:
        """A message to the client has this length on the wire."""
        self._sent.inc(num_bytes)


class ServerMetrics:
    """All numbers of this process. For any number of threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace="outcrop", registry=self.registry)
        gauge = partial(Gauge, namespace="outcrop", registry=self.registry, multiprocess_mode="livesum")
        histogram = partial(Histogram, namespace="outcrop", registry=self.registry)

        self.seconds = histogram(
            "rpc_seconds", "From the arrival of a call to its end.", ["method"], buckets=LATENCY_SECONDS
        )
        self.calls = counter("rpc_calls", "Calls that have ended.", ["method", "code"])
        self.in_flight = gauge("rpc_in_flight", "Calls that have not ended.", ["method"])
        self.received_bytes = counter("rpc_received_bytes", "Messages of clients.", ["method"])
        self.sent_bytes = counter("rpc_sent_bytes", "Messages to clients.", ["method"])
        self._queue_calls = gauge("queue_calls", "Calls that wait for their turn.")
        self._queue_bytes = gauge("queue_bytes", "Requests of calls that wait or work.")
        self._shed = counter("shed_calls", "Calls refused for want of room.", ["reason"])
        self._batch_queries = histogram("batch_queries", "Queries in one call into the core.", buckets=_BATCH_SIZES)
        self._batch_calls = histogram("batch_calls", "Searches in one call into the core.", buckets=_BATCH_SIZES)
        self._resident = gauge("resident_bytes", "Memory of the serving processes.")
        self._objects = ObjectMetrics(self.registry)
        self._methods: dict[str, MethodMeter] = {}

    def method(self, name: str) -> MethodMeter:
        """Return the numbers of an RPC, called `VectorService/Search`."""
        meter = self._methods.get(name)
        if meter is None:
            meter = self._methods.setdefault(name, MethodMeter(self, name))
        return meter

    def queued(self, calls: int, num_bytes: int) -> None:
        """How many calls wait now, and what the requests of those that wait or work hold."""
        self._queue_calls.set(calls)
        self._queue_bytes.set(num_bytes)

    def shed(self, reason: str) -> None:
        """A call was refused. reason: one of a few words: queue, bytes, streams, watchers, draining."""
        self._shed.labels(reason).inc()

    def batch(self, queries: int, calls: int) -> None:
        """One call into the core answered `calls` searches that had `queries` queries together."""
        self._batch_queries.observe(queries)
        self._batch_calls.observe(calls)

    def looked_up(self, kind: str, name: str, tiers: dict[str, int]) -> None:
        """A fetch or a loader found this many rows in these tiers since it was last said."""
        self._objects.looked_up(kind, name, tiers)

    def device_read(self, kind: str, name: str, reads: int, num_bytes: int) -> None:
        """A loader or a job has read from the device since it was last said."""
        self._objects.device_read(kind, name, reads, num_bytes)

    def observe(self, usages: Iterable[ObjectUsage]) -> None:
        """Copy what the engine has counted. usages: all objects of the root; one that is missing was dropped."""
        self._resident.set(_resident_bytes())
        self._objects.observe(usages)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
