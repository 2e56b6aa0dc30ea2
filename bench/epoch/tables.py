"""What was measured, as tables for people, and as curves over the memory for rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Record = dict[str, Any]


def print_result(result: Record) -> None:
    """Print what was planned and how long epochs took, as Markdown tables."""
    bandwidth = result["device"]["sequential_bytes_per_s"]
    print(f"\nfeatures {result['feature_bytes'] / 1e9:.2f} GB; the device reads {bandwidth / 1e9:.2f} GB/s")
    print(
        "\n| rows in memory | rows wanted | Belady GB | static cache GB | plan s | of it sampling, scheduling, packing",
        end="",
    )
    print(" | GB written | disk, times features |")
    print("|---|---|---|---|---|---|---|---|")
    for plan in result["plans"]:
        bounds = f"{plan['belady_bytes'] / 1e9:.2f} | {plan['static_bytes'] / 1e9:.2f}"
        cost = plan["cost"]
        parts = ", ".join(f"{cost[f'{stage}_seconds']:.1f}" for stage in ("sample", "schedule", "pack"))
        written = f"{(cost['written_bytes'] + cost['temporary_bytes']) / 1e9:.2f}"
        disk = plan["disk_bytes"] / result["feature_bytes"]
        start = f"{plan['share']:.0%} | {plan['accesses']:,} | {bounds} | {plan['seconds']:.1f}"
        print(f"| {start} | {parts} | {written} | {disk:.2f} |")
    print("\n| system | rows in memory | prepare s | first epoch s | epoch s | GB read | x Belady | x device time |")
    print("|---|---|---|---|---|---|---|---|")
    for record in result["records"]:
        print(f"| {_line(record, result['plans'], bandwidth)} |")
    if result["trained"]:
        print("\n| with a small GraphSAGE | epochs, s | of it waiting for minibatches, s | loss |")
        print("|---|---|---|---|")
    for record in result["trained"]:
        columns = [
            ", ".join(f"{epoch[name]:.{digits}f}" for epoch in record["training"])
            for name, digits in (("seconds", 1), ("waited_seconds", 2), ("loss", 3))
        ]
        print(f"| {record['system']} | {' | '.join(columns)} |")


def _line(record: Record, plans: list[Record], bandwidth: float) -> str:
    plan = next((plan for plan in plans if plan["share"] == record["share"]), None)
    first, typical = record["epochs"][0], typical_epoch(record)
    # Of a system that was stopped early the whole epoch is worked out from the minibatches it did.
    scale = 1.0 if plan is None else max(1.0, plan["accesses"] / typical["rows"])
    note = " (worked out)" if scale > 1.5 else ""
    scale = scale if scale > 1.5 else 1.0
    read = typical["read_bytes"] * scale
    against = ["", ""]
    if plan is not None:
        bound = plan["belady_bytes"]
        against = [f"{read / bound:.2f}", f"{typical['seconds'] * scale / (bound / bandwidth):.2f}"]
    seconds = f"{first['seconds'] * scale:.2f} | {typical['seconds'] * scale:.2f}{note}"
    start = f"{record['system']} | {record['share']:.0%} | {record['prepare_seconds']:.1f}"
    return f"{start} | {seconds} | {read / 1e9:.2f} | {against[0]} | {against[1]}"


def typical_epoch(record: Record) -> Record:
    """Return the median epoch behind the first one, or the only one."""
    later = sorted(record["epochs"][1:] or record["epochs"], key=lambda epoch: epoch["seconds"])
    return later[len(later) // 2]


def plot(result: Record, path: Path) -> bool:
    """Draw seconds per epoch over the memory for rows; False when matplotlib is absent."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, axis = pyplot.subplots(figsize=(8, 6))
    plans = {plan["share"]: plan for plan in result["plans"]}
    for system in dict.fromkeys(record["system"] for record in result["records"]):
        records = [record for record in result["records"] if record["system"] == system]
        if system == "DGL in memory":
            axis.axhline(typical_epoch(records[0])["seconds"], color="grey", linestyle="--", label=system)
            continue
        scale = [max(1.0, plans[r["share"]]["accesses"] / typical_epoch(r)["rows"]) for r in records]
        seconds = [typical_epoch(r)["seconds"] * s for r, s in zip(records, scale, strict=True)]
        axis.plot([record["share"] * 100 for record in records], seconds, marker="o", label=system)
    bandwidth = result["device"]["sequential_bytes_per_s"]
    bound = [plan["belady_bytes"] / bandwidth for plan in plans.values()]
    axis.plot([share * 100 for share in plans], bound, "k:", label="Belady's misses at the device's bandwidth")
    axis.set_xlabel("rows in memory, % of the features")
    axis.set_ylabel("seconds per epoch")
    axis.set_yscale("log")
    axis.grid(True, which="both", alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
