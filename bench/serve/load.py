"""Load on a server, from a process of its own.

closed: so many clients, each waits for its answer. open: calls arrive by chance at a rate, whatever the server does; a
latency counts from the moment of arrival.

python load.py '{"address": ..., "path": ..., "requests": "rows.npy", "mode": "closed", "clients": 32, "seconds": 5}'
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import numpy as np

# More clients share connections, as those of one host do.
CLIENTS_PER_CHANNEL = 8
OPEN_CHANNELS = 8
# Of an open load: what is under way at most. A server that does not shed is not worth the memory of more.
MOST_UNDER_WAY = 5000
_KEPT_RESPONSES = 200


@dataclass
class Load:
    """What was sent. mode: closed or open. rate: arrivals a second. deadline_seconds: of each call."""

    address: str
    path: str
    requests: str
    mode: str
    seconds: float
    clients: int = 1
    rate: float = 0.0
    seed: int = 0
    warm_seconds: float = 0.5
    deadline_seconds: float = 30.0


@dataclass
class Outcome:
    """What came back. latencies: of the calls that were answered, in seconds. begins: when those began."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    responses: list[bytes] = field(default_factory=list)
    not_sent: int = 0

    def summary(self) -> dict[str, Any]:
        """Return the figures."""
        points = dict(zip(("p50", "p95", "p99"), np.percentile(self.latencies or [0], [50, 95, 99]), strict=True))
        return {
            "calls_per_second": len(self.latencies) / self.seconds,
            "answered": len(self.latencies),
            "codes": dict(self.codes),
            "not_sent": self.not_sent,
            **{f"{name}_ms": 1e3 * value for name, value in points.items()},
        }


class Generator:
    """Makes the calls of one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = [row.tobytes() for row in np.load(load.requests, allow_pickle=False)]
        self._next = 0
        self.outcome = Outcome()
        self._measured_from = 0.0

    async def run(self) -> Outcome:
        """Warm up, then measure."""
        load = self._load
        count = OPEN_CHANNELS if load.mode == "open" else -(-load.clients // CLIENTS_PER_CHANNEL)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channels = [grpc.aio.insecure_channel(load.address, options=options) for _ in range(count)]
        calls = [channel.unary_unary(load.path) for channel in channels]
        self._measured_from = time.perf_counter() + load.warm_seconds
        until = self._measured_from + load.seconds
        if load.mode == "closed":
            await asyncio.gather(*(self._client(calls[each % count], until) for each in range(load.clients)))
        else:
            await self._arrivals(calls, until)
        self.outcome.seconds = load.seconds
        for channel in channels:
            await channel.close()
        return self.outcome

    async def _client(self, call: Any, until: float) -> None:
        while (now := time.perf_counter()) < until:
            await self._one(call, now)

    async def _arrivals(self, calls: list[Any], until: float) -> None:
        random = np.random.default_rng(self._load.seed)
        under_way: set[asyncio.Task[None]] = set()
        due = time.perf_counter()
        number = 0
        while due < until:
            due += random.exponential(1 / self._load.rate)
            delay = due - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            elif number % 50 == 0:
                await asyncio.sleep(0)
            number += 1
            if len(under_way) >= MOST_UNDER_WAY:
                self.outcome.not_sent += 1
                continue
            task = asyncio.create_task(self._one(calls[number % len(calls)], due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _one(self, call: Any, begin: float) -> None:
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        code = "OK"
        try:
            response = await call(request, timeout=self._load.deadline_seconds)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        if begin < self._measured_from:
            return
        self.outcome.codes[code] += 1
        if code == "OK":
            self.outcome.latencies.append(time.perf_counter() - begin)
            self.outcome.begins.append(begin)
            if len(self.outcome.responses) < _KEPT_RESPONSES:
                self.outcome.responses.append(response)


def usage_per_query(responses: list[bytes]) -> dict[str, float]:
    """Return the mean reads and bytes of the answered queries, and how many of other calls shared their call."""
    from outcrop.v1.vector_pb2 import SearchResponse

    parsed = [SearchResponse.FromString(response) for response in responses]
    queries = sum(each.usage.queries for each in parsed) or 1
    return {
        "reads_per_query": sum(each.usage.reads for each in parsed) / queries,
        "bytes_per_query": sum(each.usage.bytes for each in parsed) / queries,
        "batched_with": sum(each.batched_with for each in parsed) / max(1, len(parsed)),
    }


def main() -> None:
    """Run one load and print what came of it."""
    load = Load(**json.loads(sys.argv[1]))
    outcome = asyncio.run(Generator(load).run())
    found = {"load": asdict(load), **outcome.summary()}
    if load.path.endswith("VectorService/Search"):
        found |= usage_per_query(outcome.responses)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
