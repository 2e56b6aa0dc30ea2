"""A plan's report, as text and as a drawing."""

from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.gnn_loader import PlanReport
from outcrop.store import format_bytes
from outcrop.types import StreamReport


def report_text(report: PlanReport) -> RenderableType:
    """Return what a person reads: what is in the plan, what an epoch costs, what making it did, and the miss curves."""
    curves = [part for stream in report.streams for part in ("", _curve_table(stream, report))]
    return Group(_facts(report), "", _streams_table(report), *curves)


def _facts(report: PlanReport) -> Table:
    facts = Table.grid(padding=(0, 2))
    shards = "" if report.num_shards == 1 else f" in {report.num_shards} shards"
    facts.add_row("plan", f"{report.name}: {report.num_epochs} epochs, {report.num_minibatches:,} minibatches{shards}")
    facts.add_row("disk", f"{format_bytes(report.disk_bytes)}, {report.disk_multiple:.2f} times the feature tables")
    reads = f"{format_bytes(int(report.read_bytes))}, one after the other: {report.read_seconds:.2f} s"
    facts.add_row("an epoch reads", f"{reads} at {report.device.bandwidth / 1e9:.2f} GB/s")
    facts.add_row("", f"row by row the same misses would take {report.random_seconds:.1f} s")
    cost = report.cost
    seconds = f"sampling {cost.sample_seconds:.1f} s, scheduling {cost.schedule_seconds:.1f} s"
    facts.add_row("making it took", f"{seconds}, packing {cost.pack_seconds:.1f} s")
    moved = f"{format_bytes(cost.read_bytes)} read, {format_bytes(cost.written_bytes)} written"
    beside = "" if not cost.temporary_bytes else f", {format_bytes(cost.temporary_bytes)} of disk for a while"
    facts.add_row("", f"packing: {moved}{beside}")
    return facts


def _streams_table(report: PlanReport) -> Table:
    table = Table(title="an epoch's rows, by where they come from", title_justify="left", box=None)
    for heading in (
        "features",
        "of",
        "codec",
        "bytes",
        "wanted",
        "from memory",
        "from the log",
        "hits",
        "cache",
        "pinned",
    ):
        table.add_column(heading, justify="left" if heading in ("features", "of", "codec") else "right")
    for stream in report.streams:
        table.add_row(
            stream.name,
            stream.node_type,
            stream.codec,
            f"{stream.row_bytes:,}",
            f"{stream.rows_wanted:,.0f}",
            f"{stream.rows_wanted - stream.rows_missed:,.0f}",
            f"{stream.rows_missed:,.0f}",
            f"{stream.hit_ratio:.1%}",
            format_bytes(stream.cache_bytes),
            format_bytes(stream.pinned_rows * stream.row_bytes),
        )
    return table


def _curve_table(stream: StreamReport, report: PlanReport) -> Table:
    title = f"{stream.name}: what caches of other sizes would miss (optimal replacement)"
    table = Table(title=title, title_justify="left", box=None)
    for heading in ("cache", "of the table", "misses an epoch", "log", "read in"):
        table.add_column(heading, justify="right")
    for rows, misses in zip(stream.curve.capacities, stream.curve.misses, strict=True):
        log_bytes = misses / report.num_epochs * stream.row_bytes
        table.add_row(
            format_bytes(rows * stream.row_bytes),
            f"{rows / max(1, stream.curve.num_rows):.1%}",
            f"{misses / report.num_epochs:,.0f}",
            format_bytes(int(log_bytes)),
            f"{log_bytes / report.device.bandwidth:.2f} s",
        )
    return table


def plot_curves(report: PlanReport, path: Path) -> None:
    """Draw, for each table, the share of wanted rows that caches of different sizes miss, and where the plan is."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for, a PNG is drawn by Agg

    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, stream in enumerate(report.streams):
        curve = stream.curve
        share = 100 * np.array(curve.capacities) / max(1, curve.num_rows)
        missed = 100 * np.array(curve.misses) / max(1, curve.accesses)
        axes.plot(share, missed, marker=".", color=f"C{number}", label=f"{stream.name} ({stream.node_type})")
        chosen = 100 * stream.cache_rows / max(1, curve.num_rows)
        axes.plot([chosen], [100 * (1 - stream.hit_ratio)], marker="o", markersize=9, color=f"C{number}")
    axes.set_xlabel("rows in the cache, % of the table")
    axes.set_ylabel("rows read from the log, % of those wanted")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.suptitle(f"{report.name}: optimal caches, the plan's own marked")
    figure.savefig(path, dpi=120)
