"""Recall against what it costs, drawn to a PNG. matplotlib is an extra."""

from collections.abc import Callable, Sequence
from pathlib import Path

from outcrop.cli.measurement import Measurement
from outcrop.errors import InvalidArgument

_PANELS: tuple[tuple[str, Callable[[Measurement], float]], ...] = (
    ("median latency, ms", lambda m: m.p50_us / 1e3),
    ("reads per query", lambda m: m.reads),
    ("KB read per query", lambda m: m.bytes / 1e3),
)
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # told apart by all eyes (Okabe and Ito)


def can_plot() -> bool:
    """Return whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def check_plot(path: Path) -> None:
    """Raise InvalidArgument unless a plot can be written to `path`."""
    if path.suffix != ".png":
        raise InvalidArgument(f"--plot {path}: expected a name that ends in .png")
    if not can_plot():
        raise InvalidArgument("--plot needs matplotlib: pip install 'outcrop[plot]'")


def plot(measurements: Sequence[Measurement], title: str, path: Path) -> None:
    """Draw latency, reads and bytes over recall, a line for each number of threads and state of the cache."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for, a PNG is drawn by Agg

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    series = list(dict.fromkeys((m.cache, m.threads) for m in measurements))
    threads = sorted({m.threads for m in measurements})
    for axes, (label, value) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for cache, count in series:
            points = sorted((m.recall, value(m)) for m in measurements if (m.cache, m.threads) == (cache, count))
            axes.plot(
                [recall for recall, _ in points],
                [cost for _, cost in points],
                marker="o" if cache == "cold" else "s",
                linestyle="-" if cache == "cold" else "--",
                color=_COLORS[threads.index(count) % len(_COLORS)],
                label=f"{cache}, {count} thread{'s' if count > 1 else ''}",
            )
        axes.set_xlabel("recall")
        axes.set_title(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
