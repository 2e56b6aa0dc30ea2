"""What was measured, as tables for people, and as curves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Record

from outcrop.store import format_bytes

_COLUMNS = (
    ("system", "system"),
    ("memory", "memory"),
    ("state", "state"),
    ("calls", "calls"),
    ("threads", "threads"),
    ("asked", "asked"),
    ("recall@10", "recall"),
    ("reads", "reads"),
    ("KB", "bytes"),
    ("pages", "pages"),
    ("device us", "device_us"),
    ("QPS", "qps"),
    ("p50 us", "p50_us"),
    ("p99 us", "p99_us"),
    ("centroids us", "centroid_us"),
)


def print_builds(builds: list[Record]) -> None:
    """Print what each index is."""
    print("\n| dtype | memory | centroids | copies | entries per vector | disk MB | times raw | build s |")
    print("|---|---|---|---|---|---|---|---|")
    for b in builds:
        disk = f"{b['disk_bytes'] / 1e6:.1f} | {b['disk_multiple']:.2f} | {b['build_seconds']:.0f}"
        centroids = f"{b['num_centroids']} | {b['copy_rule']} | {b['entries_per_vector']:.2f}"
        print(f"| {b['dtype']} | {format_bytes(b['memory_bytes'])} | {centroids} | {disk} |")


def print_table(records: list[Record]) -> None:
    """Print one line per record, as a Markdown table."""
    print("\n| " + " | ".join(title for title, _ in _COLUMNS) + " |")
    print("|---" * len(_COLUMNS) + "|")
    for record in records:
        print("| " + " | ".join(_cell(title, record.get(name), record) for title, name in _COLUMNS) + " |")


def _cell(title: str, value: Any, record: Record) -> str:
    if title == "memory":
        return format_bytes(record["memory_bytes"]) if "memory_bytes" in record else ""
    if title == "asked":
        return str(record.get("asked_recall", record.get("effort", "")))
    if title == "reads" and value is None and "major_faults" in record:
        return f"{record['major_faults']:.0f} faults"
    if value is None:
        return ""
    if title == "recall@10":
        return f"{value:.4f}"
    if title == "KB":
        return f"{value / 1000:.0f}"
    if title in ("reads", "pages"):
        return f"{value:.1f}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def plot(records: list[Record], title: str, path: Path) -> bool:
    """Draw recall against reads, bytes, latency and throughput; False when matplotlib is absent."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9))
    panels = [
        ("reads", "reads per query", 1.0),
        ("bytes", "KB read per query", 1e-3),
        ("p50_us", "p50 latency, ms (p99 dotted); single calls, 1 thread", 1e-3),
        ("qps", "queries per second; most threads", 1.0),
    ]
    for axis, (name, label, scale) in zip(axes.flat, panels, strict=True):
        for number, (curve, points) in enumerate(_curves(records, most_threads=name == "qps")):
            points = [point for point in points if name in point]
            style = "--" if "memory" in curve else "-"
            xs = [point["recall"] for point in points]
            if points:
                axis.plot(
                    xs,
                    [point[name] * scale for point in points],
                    style,
                    marker=".",
                    label=curve,
                    color=f"C{number % 10}",
                )
            if name == "p50_us":
                axis.plot(xs, [point["p99_us"] * scale for point in points], ":", color=f"C{number % 10}")
        axis.set_xlabel("recall@10")
        axis.set_ylabel(label)
        axis.set_yscale("log")
        axis.grid(True, which="both", alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    axes[1, 1].legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True


def _curves(records: list[Record], most_threads: bool) -> Iterator[tuple[str, list[Record]]]:
    """Yield the points of each system, budget and state by rising recall: single calls from one thread, or with
    `most_threads` batches (faiss: single calls) from the most."""
    chosen: dict[str, list[Record]] = {}
    for record in records:
        of_system = [other for other in records if other["system"] == record["system"]]
        wanted = max(other["threads"] for other in of_system) if most_threads else 1
        wanted_calls = "batch" if most_threads and record["system"] == "outcrop" else "one"
        if record["threads"] != wanted or record["calls"] != wanted_calls:
            continue
        budget = f" {format_bytes(record['memory_bytes'])}" if "memory_bytes" in record else ""
        state = "" if record["state"] == "memory" else f", {record['state']}"
        chosen.setdefault(f"{record['system']}{budget}{state}", []).append(record)
    for curve, points in chosen.items():
        yield curve, sorted(points, key=lambda point: point["recall"])
