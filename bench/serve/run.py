"""What does it cost to search and to fetch through a server, beside the engine in one's own process and bare gRPC?

Everything is measured in one run: rounds of the systems take turns, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench.environment import describe
from bench.serve.setting import COLLECTION, SEARCH, TABLE, Served, Workload, bare_peer, prepare, run_load, twin
from tests.serving import serving

import outcrop
from outcrop.proto.chunks import CHUNK_BYTES, parse_chunk
from outcrop.proto.tensors import from_ids, from_tensor
from outcrop.v1 import feature_pb2, vector_pb2

UNARY, STREAM = "/bare/Unary", "/bare/Stream"
MANY = 64
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
Record = dict[str, Any]


class Bench:
    """One run. on, off: addresses of servers with and without micro-batching; bare: of the peer."""

    def __init__(self, workload: Workload, served: Served, on: str, off: str, bare: str, requests: Path) -> None:
        self.workload, self.served = workload, served
        self.on, self.off, self.bare, self.requests = on, off, bare, requests

    def one_query(self, memory: str) -> Record:
        """One client, one query a call: of each system the median of the best round, in microseconds."""
        request = [self.served.request(place) for place in range(len(self.served.queries))]
        with outcrop.connect(self.served.root, memory=memory) as database, self._channels() as (ours, bare):
            collection = database.collection(COLLECTION)
            systems: dict[str, Callable[[int], object]] = {
                "embedded": lambda place: collection.search(self.served.queries[place], self.served.k),
                "bare": lambda place: bare.unary_unary(UNARY)(request[place]),
                "served": lambda place: ours.unary_unary(SEARCH)(request[place]),
            }
            return {name: 1e6 * seconds for name, seconds in self._medians(systems, 1).items()}

    def many_queries(self, memory: str) -> Record:
        """One client, 64 queries a call, with what turns arrays into messages and back: milliseconds a call."""
        with outcrop.connect(self.served.root, memory=memory) as database, self._channels() as (ours, _):
            collection = database.collection(COLLECTION)

            def through_server(place: int) -> None:
                raw = ours.unary_unary(SEARCH)(self.served.request(place, MANY))
                answer = vector_pb2.SearchResponse.FromString(raw)
                from_ids(answer.ids, (MANY, self.served.k))
                from_tensor(answer.distances)

            systems: dict[str, Callable[[int], object]] = {
                "embedded": lambda place: collection.search(self.served.queries[place : place + MANY], self.served.k),
                "served": through_server,
            }
            return {name: 1e3 * seconds for name, seconds in self._medians(systems, MANY).items()}

    def closed(self) -> list[Record]:
        """So many clients, each with one call under way, with batching and without, and of the bare peer."""
        found = []
        for clients in self.workload.clients:
            for _ in range(self.workload.rounds if clients == 32 else 1):
                for system, address, path in self._systems():
                    load = {"mode": "closed", "clients": clients}
                    found.append({"system": system, "clients": clients, **self._load(address, path, load)})
        return found

    def open(self, most: float) -> list[Record]:
        """Arrivals by chance at shares of what 32 clients reached."""
        return [
            {"share": share, **self._load(self.on, SEARCH, {"mode": "open", "rate": share * most, "seed": place})}
            for place, share in enumerate(self.workload.rates)
        ]

    def features(self) -> Record:
        """One stream of rows, and one of as many bare chunks: bytes a second of the best round."""
        wanted = feature_pb2.StreamFeaturesRequest(
            name=TABLE, range=feature_pb2.RowRange(start=0, stop=self.workload.streamed_rows)
        ).SerializeToString()
        total = self.workload.streamed_rows * self.workload.feature_dim * 4
        chunks = f"{-(-total // CHUNK_BYTES)} {CHUNK_BYTES}".encode()
        parse = parse_chunk(feature_pb2.StreamFeaturesResponse)
        best = {"served": 0.0, "bare": 0.0}
        with self._channels() as (ours, bare):
            for _ in range(2 * self.workload.rounds):
                stream = ours.unary_stream("/outcrop.v1.FeatureService/StreamFeatures", response_deserializer=parse)
                best["served"] = max(best["served"], _rate(lambda: sum(each.data.nbytes for each in stream(wanted))))  # noqa: B023
                best["bare"] = max(best["bare"], _rate(lambda: sum(map(len, bare.unary_stream(STREAM)(chunks)))))
        return {**best, "bytes": total, "share": best["served"] / best["bare"]}

    def _medians(self, systems: dict[str, Callable[[int], object]], step: int) -> dict[str, float]:
        best = dict.fromkeys(systems, float("inf"))
        places = range(0, len(self.served.queries) - step + 1, step)
        for search in systems.values():
            _timed(search, places, self.workload.warm_seconds)
        for _ in range(self.workload.rounds):
            for name, search in systems.items():
                best[name] = min(best[name], float(np.median(_timed(search, places, self.workload.seconds))))
        return best

    def _systems(self) -> list[tuple[str, str, str]]:
        return [("bare", self.bare, UNARY), ("one by one", self.off, SEARCH), ("batched", self.on, SEARCH)]

    def _load(self, address: str, path: str, load: Record) -> Record:
        times = {"seconds": self.workload.seconds, "warm_seconds": self.workload.warm_seconds}
        found = run_load(address, self.requests, path, **times, **load)
        del found["load"]
        return found | ({"rate": load["rate"]} if "rate" in load else {})

    def _channels(self) -> _Channels:
        return _Channels(self.on, self.bare)


class _Channels:
    """A channel to the server and one to the peer."""

    def __init__(self, *addresses: str) -> None:
        self._open = tuple(grpc.insecure_channel(address, options=_OPTIONS) for address in addresses)

    def __enter__(self) -> tuple[grpc.Channel, ...]:
        return self._open

    def __exit__(self, *_: object) -> None:
        for channel in self._open:
            channel.close()


def _timed(call: Callable[[int], object], places: range, seconds: float) -> list[float]:
    """The seconds of calls, one after the other, for so long."""
    taken, until, number = [], time.perf_counter() + seconds, 0
    while (begin := time.perf_counter()) < until:
        call(places[number % len(places)])
        taken.append(time.perf_counter() - begin)
        number += 1
    return taken


def _rate(stream: Callable[[], int]) -> float:
    begin = time.perf_counter()
    return stream() / (time.perf_counter() - begin)


def verdicts(found: Record) -> Record:
    """What was to be shown: the figure of each claim, and its bound."""
    one, many = found["one_query_us"], found["many_queries_ms"]
    crowd = [each for each in found["closed"] if each["clients"] == 32]
    batched, apart = (
        float(np.median([each["calls_per_second"] for each in crowd if each["system"] == system] or [np.nan]))
        for system in ("batched", "one by one")
    )
    return {
        "overhead of one query, us (at most 500)": one["served"] - one["bare"] - one["embedded"],
        "64 queries in a call, served over embedded (at most 1.15)": many["served"] / many["embedded"],
        "32 clients, batched over one by one (at least 2)": batched / apart if crowd else None,
        "features, served over a bare stream (at least 0.8)": found["features"]["share"],
    }


def main() -> None:
    """Parse, serve, measure, print, write."""
    arguments = _parse()
    workload = Workload.load(arguments.small)
    with tempfile.TemporaryDirectory(prefix="outcrop-serve-") as temporary:
        root = arguments.root or Path(temporary) / "root"
        served = prepare(workload, root, arguments.vectors, arguments.memory)
        requests = served.write_requests(Path(temporary) / "requests.npy")
        settings = {"memory": arguments.memory}
        with (
            serving(root, **settings) as on,
            serving(twin(root), batching={"enabled": False}, **settings) as off,
            grpc.insecure_channel(on.address) as channel,
            bare_peer(len(channel.unary_unary(SEARCH)(served.request(0)))) as bare,
        ):
            bench = Bench(workload, served, on.address, off.address, bare, requests)
            found = measure(bench, arguments.memory)
        found["environment"] = describe(root)
    report(found, arguments)


def measure(bench: Bench, memory: str) -> Record:
    """Return everything."""
    found: Record = {"one_query_us": bench.one_query(memory), "many_queries_ms": bench.many_queries(memory)}
    found["closed"] = bench.closed()
    found["open"] = bench.open(max(each["calls_per_second"] for each in found["closed"] if each["system"] == "batched"))
    found["features"] = bench.features()
    found["shown"] = verdicts(found)
    return found


def report(found: Record, arguments: argparse.Namespace) -> None:
    """Print tables or JSON, and write what was asked for."""
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "serve.json").write_text(json.dumps(found, indent=1))
        _plot(found, arguments.out / "serve.png")
    if arguments.json:
        print(json.dumps(found))
        return
    print("us a query, one client:", _rounded(found["one_query_us"]))
    print("ms a call of 64 queries:", _rounded(found["many_queries_ms"]))
    for each in (*found["closed"], *found["open"]):
        print(_rounded(each))
    print("features:", _rounded(found["features"]))
    for claim, figure in found["shown"].items():
        print(f"{claim}: {'not measured' if figure is None else round(figure, 3)}")


def _rounded(record: Record) -> Record:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in record.items()}


def _plot(found: Record, path: Path) -> None:
    """Latency against load: closed by clients, open by arrivals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for system in ("bare", "one by one", "batched"):
        points = [each for each in found["closed"] if each["system"] == system]
        rates = [each["calls_per_second"] for each in points]
        left.plot(rates, [each["p50_ms"] for each in points], "o-", label=f"{system}, p50")
        left.plot(rates, [each["p99_ms"] for each in points], "o:", label=f"{system}, p99")
    left.set(title="closed: 1 to 64 clients", xlabel="calls a second", ylabel="ms", yscale="log")
    for name in ("p50", "p95", "p99"):
        right.plot(
            [each["rate"] for each in found["open"]], [each[f"{name}_ms"] for each in found["open"]], "o-", label=name
        )
    right.set(title="open: arrivals by chance, batched", xlabel="arrivals a second", ylabel="ms", yscale="log")
    left.legend()
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="a file of real vectors; generated ones without it")
    parser.add_argument("--root", type=Path, help="where the root is made, on the device to measure; used again")
    parser.add_argument("--memory", default="32MiB", help="of the collection, here and in the servers")
    parser.add_argument("--small", action="store_true", help="seconds, on little: shows that it runs")
    parser.add_argument("--out", type=Path, help="folder for serve.json and serve.png")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
