"""`outcrop build`: from a file of vectors to a collection's new version, and what that took and gave."""

import contextlib
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.cli.input_files import read_ids, read_queries, vector_file
from outcrop.datasets.source import VectorSource
from outcrop.embedded import CollectionInfo
from outcrop.errors import Cancelled, InvalidArgument, NotFound
from outcrop.jobs import Job
from outcrop.store import format_bytes, parse_bytes
from outcrop.types import Progress

if TYPE_CHECKING:
    from outcrop.cli.place import Collection, Database


@dataclass(frozen=True, slots=True)
class TrialCost:
    """One rule of copies that the build tried, and what a query of recall@10 0.95 would cost with it.

    copies: entries per vector. disk_multiple: the disk it would use, as a multiple of the raw vectors.
    """

    rule: str
    copies: float
    disk_multiple: float
    nprobe: int
    reads: float
    bytes: float
    device_us: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build made. seconds: of this call; peak_rss_bytes: of this process, libraries included."""

    name: str
    version: int
    num_rows: int
    dim: int
    metric: str
    dtype: str
    code: str
    seconds: float
    peak_rss_bytes: int
    raw_bytes: int
    disk_bytes: int
    disk_multiple: float
    num_centroids: int
    num_lists: int
    copies: float
    copy_rule: str
    search_memory_bytes: int
    trials: list[TrialCost]


def build(
    run: Run,
    name: Annotated[str, typer.Argument(help="The collection; made when there is none.")],
    vectors: Annotated[Path, typer.Argument(help="fbin, u8bin, i8bin, fvecs, bvecs, npy, hdf5 or parquet.")],
    ids: Annotated[Path | None, typer.Option(help=".npy of integers or text, or a line of text per vector.")] = None,
    metric: Annotated[str | None, typer.Option(help="l2, ip or cosine [default: l2].")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the stored vectors [default: the file's].")] = None,
    memory: Annotated[str, typer.Option(help="For the build's own arrays.", metavar="SIZE")] = "256MiB",
    search_memory: Annotated[
        str | None,
        typer.Option(help="What search will be given [default: 8MiB or 5 % of the vectors].", metavar="SIZE"),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="[default: all cores]", min=1)] = None,
    code: Annotated[str, typer.Option(help="What lists hold: auto, raw or sq8.")] = "auto",
    copies: Annotated[int | None, typer.Option(help="Lists per vector, at most [default: measured].", min=1)] = None,
    copy_rule: Annotated[str | None, typer.Option(help="nearest, soar or rng [default: measured].")] = None,
    num_centroids: Annotated[int | None, typer.Option(help="[default: from --search-memory]", min=1)] = None,
    calibration_queries: Annotated[
        Path | None, typer.Option(help="Queries like those to come [default: held-out vectors].")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first N vectors.", min=1, metavar="N")] = None,
) -> None:
    """Build a collection from a file of vectors, in bounded memory.

    The version before stays readable until the new one is there. A build that was stopped resumes when the same
    command is given again.
    """
    began = time.monotonic()
    given_ids = None if ids is None else read_ids(ids, limit)
    queries = None if calibration_queries is None else read_queries(calibration_queries)
    with vector_file(vectors, limit) as source, run.connect(threads=threads) as database:
        collection = _collection(database, name, source, metric, dtype, isinstance(given_ids, list))
        job = collection.build(
            source,
            given_ids,
            memory=parse_bytes(memory),
            search_memory=None if search_memory is None else parse_bytes(search_memory),
            threads=threads,
            code=code,
            num_centroids=num_centroids,
            copies=copies,
            copy_rule=copy_rule,
            calibration_queries=queries,
        )
        wait(run, job)
        report = report_of(collection.info(), time.monotonic() - began)
    run.output.result(report, text=build_summary(report))


def wait(run: Run, job: Job[Any]) -> None:
    """Show a job's progress until it ends. Ctrl-C stops it at its next step, and what it finished is kept."""
    stage = ""
    began = time.monotonic()
    with run.output.progress(job.name, total=100) as bar:

        def show(progress: Progress) -> None:
            nonlocal stage
            left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
            bar.update(round(100 * progress.fraction), description=f"{progress.stage}{left}")
            if progress.stage != stage:
                stage = progress.stage
                run.output.detail(f"{time.monotonic() - began:7.1f} s  {progress.fraction:4.0%}  {stage}")

        try:
            job.wait(progress=show)
        except KeyboardInterrupt:
            run.output.note("stopping; the same command resumes it")
            job.cancel()
            with contextlib.suppress(Cancelled):
                job.wait()
            raise


def report_of(info: CollectionInfo, seconds: float) -> BuildReport:
    """Return the report on the version that a build just made."""
    assert info.version is not None
    properties = info.properties
    return BuildReport(
        name=info.name,
        version=info.version,
        num_rows=info.num_rows,
        dim=info.spec.dim,
        metric=info.spec.metric,
        dtype=info.spec.dtype,
        code=properties["code"],
        seconds=seconds,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        raw_bytes=properties["raw_bytes"],
        disk_bytes=info.disk_bytes,
        disk_multiple=info.disk_bytes / properties["raw_bytes"],
        num_centroids=properties["num_centroids"],
        num_lists=properties["num_lists"],
        copies=properties["num_entries"] / properties["num_rows"],
        copy_rule=properties["copy_rule"],
        search_memory_bytes=properties["search_memory_bytes"],
        trials=trial_costs(info),
    )


def trial_costs(info: CollectionInfo) -> list[TrialCost]:
    """Return the rules that the build tried, fewest copies first: what disk buys in reads."""
    properties = info.properties
    entry_bytes = properties["code_bytes"] + properties["id_bytes"] + properties["row_bytes"]
    # Centroids, headers of lists, raw vectors beside codes: the same for every rule.
    rest_bytes = info.disk_bytes - properties["num_entries"] * entry_bytes
    costs = []
    for trial in properties["trials"]:
        rule_name, most = trial["rule"]
        rule = f"{rule_name} {most}" if most > 1 else "none"
        disk_bytes = trial["copies"] * properties["num_rows"] * entry_bytes + rest_bytes
        costs.append(
            TrialCost(
                rule=rule,
                copies=trial["copies"],
                disk_multiple=disk_bytes / properties["raw_bytes"],
                nprobe=trial["nprobe"],
                reads=trial["reads"],
                bytes=trial["bytes"],
                device_us=trial["device_us"],
                chosen=rule == properties["copy_rule"],
            )
        )
    return sorted(costs, key=lambda cost: cost.copies)


def build_summary(report: BuildReport) -> RenderableType:
    """Return what a person is told about a build."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("collection", f"{report.name}, version {report.version}")
    facts.add_row("vectors", f"{report.num_rows:,} x {report.dim} {report.dtype}, {report.metric}")
    facts.add_row("time", f"{_duration(report.seconds)}, peak memory {format_bytes(report.peak_rss_bytes)}")
    facts.add_row("disk", f"{format_bytes(report.disk_bytes)}, {report.disk_multiple:.2f} times the raw vectors")
    facts.add_row("lists", f"{report.num_lists:,} of {report.num_centroids:,} centroids, codes: {report.code}")
    facts.add_row("copies", f"{report.copies:.2f} entries per vector, rule: {report.copy_rule}")
    facts.add_row("memory", f"made for searches within {format_bytes(report.search_memory_bytes)}")
    return Group(facts, "", *([trials_table(report.trials)] if report.trials else []))


def trials_table(trials: list[TrialCost]) -> Table:
    """Return the trade of disk against reads as a table."""
    table = Table(title="disk against reads, per query of recall@10 0.95 (estimates)", title_justify="left", box=None)
    for heading in ("rule", "entries", "disk x raw", "nprobe", "reads", "KB", "device us", ""):
        table.add_column(heading, justify="left" if heading in ("rule", "") else "right")
    for trial in trials:
        table.add_row(
            trial.rule,
            f"{trial.copies:.2f}",
            f"{trial.disk_multiple:.2f}",
            str(trial.nprobe),
            f"{trial.reads:.1f}",
            f"{trial.bytes / 1000:,.0f}",
            f"{trial.device_us:,.0f}",
            "chosen" if trial.chosen else "",
        )
    return table


def _collection(
    database: "Database", name: str, source: VectorSource, metric: str | None, dtype: str | None, text_ids: bool
) -> "Collection":
    try:
        collection = database.collection(name)
    except NotFound:
        metric = metric or "l2"
        dtype = dtype or _stored_dtype(source.dtype, metric)
        id_type = "string" if text_ids else "int64"
        return database.create_collection(name, dim=source.dim, metric=metric, dtype=dtype, id_type=id_type)
    for asked, found in ((metric, collection.spec.metric), (dtype, collection.spec.dtype)):
        if asked not in (None, found):
            raise InvalidArgument(f"{name}: exists and is {found}, {asked} was asked; choose another name")
    return collection


def _stored_dtype(dtype: np.dtype[Any], metric: str) -> str:
    """Return the type to store: the file's, but float32 where that cannot be stored, or not be normalised."""
    wide = dtype.name not in ("float32", "float16", "uint8", "int8")
    return "float32" if wide or (metric == "cosine" and dtype.kind in "iu") else dtype.name


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"
