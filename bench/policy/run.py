"""How many rows does a cache of each size miss, by which policy? See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[1]))

import environment
from minibatch_trace import Keys, Trace, make_trace
from peers import PEERS, peer_misses

from outcrop import native
from outcrop.gnn_loader.planning.schedule import rows_to_pin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

Misses = npt.NDArray[np.uint64]
Policy = Callable[[int], Misses]


def main() -> None:
    arguments = _parser().parse_args()
    workload = tomllib.loads(Path(__file__).with_name("workload.toml").read_text())
    small = workload.pop("small")
    workload |= small if arguments.small else {}
    began = time.perf_counter()
    trace = make_trace(workload, arguments.threads)
    result = {
        "environment": environment.describe(Path(__file__).parent),
        "workload": workload,
        "trace": _facts(trace, time.perf_counter() - began),
        "curves": _curves(trace, workload, arguments.threads),
        "replay": _replay(trace, workload, arguments.threads),
        "scores": _scores(trace, workload, arguments.threads),
        "seconds": _seconds(trace, workload),
    }
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / f"{workload['name']}.json").write_text(json.dumps(result, indent=1) + "\n")
        _plot(result, arguments.out / f"{workload['name']}.png")
    if arguments.json:
        print(json.dumps(result))
    else:
        _print(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small graph, to see that everything runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="a folder for the JSON object and the plot")
    return parser


def _facts(trace: Trace, seconds: float) -> dict[str, Any]:
    different = len(np.unique(np.concatenate(trace.requests)))
    return {
        "accesses": trace.accesses,
        "requests": len(trace.requests),
        "requests_per_epoch": trace.per_epoch,
        "different_rows": different,
        "largest_request": max(map(len, trace.requests)),
        "seconds": round(seconds, 1),
    }


# ---- policies: from a capacity to the misses of each request


def _static(trace: Trace) -> Policy:
    """The rows that an epoch before asked for most, loaded before the first request; loading is not counted."""
    order = np.argsort(-trace.scores["frequency"].astype(np.int32), kind="stable")

    def misses(capacity: int) -> Misses:
        cached = np.zeros(trace.num_rows, bool)
        cached[order[:capacity]] = True
        return np.array([np.count_nonzero(~cached[keys]) for keys in trace.requests], np.uint64)

    return misses


def _peer(trace: Trace, name: str) -> Policy:
    return lambda capacity: peer_misses(name, trace.requests, trace.num_rows, capacity)


def _belady(trace: Trace, pinned: Callable[[int], Keys] | None = None) -> Policy:
    next_uses = _next_uses(trace)

    def misses(capacity: int) -> Misses:
        cache, found = native.NextUseCache(trace.num_rows, capacity), []
        if pinned is not None:
            cache.pin(pinned(capacity))
        for request, keys in enumerate(trace.requests):
            cache.advance(request, keys, next_uses[request])
            found.append(cache.statistics().misses)
        return np.diff(found, prepend=0).astype(np.uint64)

    return misses


def _online(trace: Trace, window: int, score: str | None = "frequency") -> Policy:
    """Next uses inside a window of `window` requests, the one that runs among them; behind it the score."""

    def misses(capacity: int) -> Misses:
        cache, future, found = native.NextUseCache(trace.num_rows, capacity), native.LookAhead(trace.num_rows), []
        if score is not None:
            cache.set_scores(trace.scores[score])
        for request, keys in enumerate(trace.requests):
            for ahead in range(future.end, min(len(trace.requests), request + window)):
                cache.promote(future.announce(trace.requests[ahead]), ahead)
            cache.advance(request, keys, future.take())
            found.append(cache.statistics().misses)
        return np.diff(found, prepend=0).astype(np.uint64)

    return misses


def _next_uses(trace: Trace) -> list[Keys]:
    future = native.NextUses(trace.num_rows)
    return [future.before(r, trace.requests[r]) for r in range(len(trace.requests) - 1, -1, -1)][::-1]


# ---- measurements


def _curves(trace: Trace, workload: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    policies = {"static": _static(trace)}
    policies |= {name: _peer(trace, name) for name in PEERS}
    policies |= {f"online {window}": _online(trace, window) for window in workload["windows"]}
    policies["belady"] = _belady(trace)
    capacities = [int(share * trace.num_rows) for share in workload["cache_shares"]]
    with ThreadPoolExecutor(threads) as pool:
        found = {name: list(pool.map(policy, capacities)) for name, policy in policies.items()}
    return [
        {"policy": name, "capacities": capacities, "misses": [_by_epoch(trace, misses) for misses in by_capacity]}
        for name, by_capacity in found.items()
    ]


def _by_epoch(trace: Trace, misses: Misses) -> list[int]:
    return [int(misses[start : start + trace.per_epoch].sum()) for start in range(0, len(misses), trace.per_epoch)]


def _replay(trace: Trace, workload: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """Misses of each pass through the first epoch's minibatches: from an empty cache, with pinned rows as a plan has
    them, and with a cache that goes on from pass to pass, which is what could be had at best."""
    passes = replace(trace, requests=trace.requests[: trace.per_epoch])
    twice = replace(trace, requests=passes.requests * 2)
    capacities = [int(share * trace.num_rows) for share in workload["cache_shares"]]
    pinned = {c: rows_to_pin(passes.requests, trace.num_rows, c, num_threads=threads) for c in capacities}
    with ThreadPoolExecutor(threads) as pool:
        empty = list(pool.map(_belady(passes), capacities))
        kept = list(pool.map(_belady(passes, lambda capacity: pinned[capacity]), capacities))
        going_on = list(pool.map(_belady(twice), capacities))
    return [
        {"begins": name, "capacities": capacities, "misses": [int(m[-trace.per_epoch :].sum()) for m in misses]}
        for name, misses in (("empty", empty), ("pinned", kept), ("as the pass before ended", going_on))
    ] + [{"begins": "rows pinned", "capacities": capacities, "misses": [len(pinned[c]) for c in capacities]}]


def _scores(trace: Trace, workload: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """What each score is worth behind a short window, with a cache of a fifth."""
    window, capacity = workload["windows"][0], trace.num_rows // 5
    names: list[str | None] = [None, *trace.scores]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda name: _online(trace, window, name)(capacity), names))
    return [
        {"score": name, "window": window, "capacity": capacity, "misses": _by_epoch(trace, misses)}
        for name, misses in zip(names, found, strict=True)
    ]


def _seconds(trace: Trace, workload: dict[str, Any]) -> dict[str, float]:
    """What deciding costs on one core, with a cache of a tenth."""
    capacity = trace.num_rows // 10
    began = time.thread_time()
    belady = _belady(trace)
    backward = time.thread_time()
    belady(capacity)
    forward = time.thread_time()
    _online(trace, workload["windows"][-1])(capacity)
    return {
        "next_uses": round(backward - began, 3),
        "belady": round(forward - backward, 3),
        "online": round(time.thread_time() - forward, 3),
    }


# ---- what people see


def _print(result: dict[str, Any]) -> None:
    trace, workload = result["trace"], result["workload"]
    print(json.dumps(result["environment"], indent=1))
    print(
        f"\n{trace['requests']} requests want {trace['accesses']:,} rows, {trace['different_rows']:,} different ones\n"
    )
    for epoch in range(workload["epochs"]):
        print(f"Million rows missed in epoch {epoch + 1}, and GB:\n")
        print("| policy | " + " | ".join(f"{share:.0%}" for share in workload["cache_shares"]) + " |")
        print("|---" * (len(workload["cache_shares"]) + 1) + "|")
        for curve in result["curves"]:
            counts = [misses[epoch] for misses in curve["misses"]]
            cells = [f"{m / 1e6:.3f} ({m * workload['row_bytes'] / 1e9:.2f})" for m in counts]
            print(f"| {curve['policy']} | " + " | ".join(cells) + " |")
        print()
    print("Million rows missed in each pass through the first epoch, by what the cache begins with:\n")
    print("| cache begins | " + " | ".join(f"{share:.0%}" for share in workload["cache_shares"]) + " |")
    print("|---" * (len(workload["cache_shares"]) + 1) + "|")
    for line in result["replay"]:
        print(f"| {line['begins']} | " + " | ".join(f"{m / 1e6:.3f}" for m in line["misses"]) + " |")
    print()
    for row in result["scores"]:
        missed = " ".join(f"{m / 1e6:.3f} M" for m in row["misses"])
        print(f"score {row['score']}, window {row['window']}, {row['capacity']:,} rows: {missed} missed")
    print(f"\nseconds of one core for the trace, a cache of a tenth: {result['seconds']}")


def _plot(result: dict[str, Any], path: Path) -> bool:
    """Draw the misses of each epoch against cache size; False when matplotlib is absent."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    epochs, rows = result["workload"]["epochs"], result["workload"]["num_nodes"]
    figure, axes = pyplot.subplots(1, epochs, figsize=(7 * epochs, 5), squeeze=False, sharey=True)
    for epoch, panel in enumerate(axes[0]):
        for curve in result["curves"]:
            style = "k-" if curve["policy"] == "belady" else "--" if curve["policy"].startswith("online") else "-"
            shares = [100 * capacity / rows for capacity in curve["capacities"]]
            panel.plot(shares, [m[epoch] / 1e6 for m in curve["misses"]], style, marker=".", label=curve["policy"])
        panel.set(xlabel="cache, % of all rows", title=f"epoch {epoch + 1}", ylim=(0, None))
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("million rows missed")
    axes[0][-1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


if __name__ == "__main__":
    main()
