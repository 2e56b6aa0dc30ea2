"""`outcrop eval`: recall against what it costs, with the empty cache and the warm one."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.cli.input_files import read_queries
from outcrop.cli.measurement import Knob, Measurement, measure
from outcrop.cli.opening import MemoryOption, ReaderOption, opened
from outcrop.cli.plot import check_plot, plot
from outcrop.cli.truth import exact_truth, read_truth
from outcrop.errors import InvalidArgument, NotFound
from outcrop.store import format_bytes

_DEFAULT_RECALLS = "0.8,0.9,0.95,0.99"


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What an evaluation measured. memory_bytes: the budget of the open index. compared: what recall was seen from."""

    name: str
    version: int
    k: int
    memory_bytes: int
    reader: str
    compared: str
    measurements: list[Measurement]


def evaluate(
    run: Run,
    name: Annotated[str, typer.Argument(help="The collection.")],
    queries: Annotated[Path, typer.Argument(help="A file of vectors.")],
    ground_truth: Annotated[
        Path | None, typer.Option(help="True neighbours: .gt/.bin of big-ann-benchmarks, npy, ivecs, ibin, hdf5.")
    ] = None,
    distances: Annotated[
        Path | None, typer.Option(help="Their distances, where they lie apart [default: NAME_dist.npy if there].")
    ] = None,
    exact_ground_truth: Annotated[
        bool, typer.Option("--exact-ground-truth", help="Compute the true neighbours instead.")
    ] = False,
    k: Annotated[int, typer.Option("-k", help="Neighbours per query.")] = 10,
    recalls: Annotated[str | None, typer.Option(help=f"Recalls to ask [default: {_DEFAULT_RECALLS}].")] = None,
    nprobes: Annotated[str | None, typer.Option(help="Numbers of posting lists to probe.")] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, each of which calls.")] = "1,2",
    memory: MemoryOption = None,
    cold: Annotated[bool | None, typer.Option("--cold/--warm", help="One state of the cache [default: both].")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N queries.", min=1, metavar="N")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw it here (.png).")] = None,
    reader: ReaderOption = None,
) -> None:
    """Measure recall, throughput, latency and what was read, for each recall asked.

    Every query is a call of its own. Cold: no list is in memory. Warm: all queries were searched before. Latencies are
    those of the caller, so of a server they have the way there and back; what its engine took is told beside them. A
    server has no cold state.
    """
    run.only_embedded(memory=memory, reader=reader, cold=cold)
    knobs = [Knob(recall=float(value)) for value in _numbers("--recalls", _asked_recalls(recalls, nprobes))]
    knobs += [Knob(nprobe=int(value)) for value in _numbers("--nprobes", nprobes)]
    counts = [int(value) for value in _numbers("--threads", threads)]
    if plot_file is not None:
        check_plot(plot_file)
    if (ground_truth is None) != exact_ground_truth:
        raise InvalidArgument("expected either --ground-truth FILE or --exact-ground-truth")
    rows = read_queries(queries, limit)
    if not len(rows):
        raise NotFound(f"{queries}: holds no queries")
    states = _states(run, cold)
    measurements: list[Measurement] = []
    with (
        opened(run, name, memory, _own_threads(run, max(counts)), reader) as (collection, info),
        run.output.progress("true neighbours"),
    ):
        if ground_truth is None:
            truth = exact_truth(collection, rows, k)
        else:
            truth = read_truth(collection, rows, k, ground_truth, distances)
    with run.output.progress("measuring", total=len(counts) * len(knobs) * len(states)) as bar:
        for count, state in itertools.product(counts, states):
            own_threads = _own_threads(run, count)
            with opened(run, name, memory, own_threads, reader, cache_lists=state == "warm") as (collection, _):
                for knob in knobs:
                    bar.update(len(measurements), description=f"{knob}, {count} threads, {state}")
                    measurements.append(measure(collection, rows, truth, k, knob, count, state))
                statistics = collection.statistics()
    assert info.version is not None
    budget = statistics.memory.budget_bytes
    report = EvalReport(name, info.version, k, budget, statistics.reader.kind, truth.kind, measurements)
    if plot_file is not None:
        title = f"{name}: {info.num_rows:,} x {info.spec.dim} {info.spec.dtype}, recall@{k}, {format_bytes(budget)}"
        plot(measurements, title, plot_file)
    run.output.result(report, text=_text(report, plot_file))


def _states(run: Run, cold: bool | None) -> list[str]:
    if run.endpoint is not None:
        return ["warm"]
    return ["cold", "warm"] if cold is None else ["cold" if cold else "warm"]


def _own_threads(run: Run, count: int) -> int | None:
    """Return how many threads the engine here needs for so many callers; those of a server are its own."""
    return count if run.endpoint is None else None


def _asked_recalls(recalls: str | None, nprobes: str | None) -> str | None:
    return _DEFAULT_RECALLS if recalls is None and nprobes is None else recalls


def _numbers(option: str, text: str | None) -> list[float]:
    """Return the numbers of a list such as `1,2`: whole and at least 1, except for recalls."""
    numbers = []
    for part in [] if text is None else text.split(","):
        try:
            number = float(part)
        except ValueError:
            number = -1.0
        fine = 0 < number <= 1 if option == "--recalls" else number >= 1 and number == int(number)
        if not fine:
            expected = "shares above 0 and at most 1" if option == "--recalls" else "whole numbers of at least 1"
            raise InvalidArgument(f"{option}: expected {expected}, separated by commas, found {part!r}")
        numbers.append(number)
    return numbers


def _text(report: EvalReport, plot_file: Path | None) -> RenderableType:
    queries = f"{report.measurements[0].num_queries:,} queries"
    head = (
        f"{report.name}, version {report.version}: recall@{report.k} of {queries}; compared: {report.compared}\n"
        f"memory {format_bytes(report.memory_bytes)}, reader {report.reader}"
    )
    parts: list[RenderableType] = [head]
    for count in dict.fromkeys(m.threads for m in report.measurements):
        parts += ["", measurements_table([m for m in report.measurements if m.threads == count], count)]
    return Group(*parts, *([f"drawn: {plot_file}"] if plot_file else []))


def measurements_table(measurements: list[Measurement], threads: int) -> Table:
    """Return the measurements of one number of threads as a table; all counts are per query."""
    title = f"{threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, title_justify="left", box=None)
    headings = (
        "asked",
        "cache",
        "recall",
        "QPS",
        "p50 ms",
        "p99 ms",
        "engine ms",
        "reads",
        "KB",
        "device us",
        "lists",
        "cached",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("asked", "cache") else "right")
    for m in measurements:
        table.add_row(
            m.asked,
            m.cache,
            f"{m.recall:.4f}",
            f"{m.qps:,.0f}",
            f"{m.p50_us / 1e3:.2f}",
            f"{m.p99_us / 1e3:.2f}",
            f"{m.engine_us / 1e3:.2f}",
            f"{m.reads:.1f}",
            f"{m.bytes / 1e3:,.0f}",
            f"{m.device_us:,.0f}",
            f"{m.lists:.1f}",
            f"{m.cache_hits:.1f}",
        )
    return table
