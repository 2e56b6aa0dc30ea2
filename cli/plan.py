"""`outcrop plan`: minibatches sampled ahead, with their rows packed in the order of use."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Group, RenderableType

import outcrop
from outcrop.cli.build import wait
from outcrop.cli.command import Run, add_command
from outcrop.cli.exit_codes import ExitCode
from outcrop.cli.plan_text import plot_curves, report_text
from outcrop.cli.plot import check_plot
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import NodeSeeds, PlanProblems, PlanReport
from outcrop.store import format_bytes, parse_bytes
from outcrop.types import Int64Array

group = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class PlanVerifyReport:
    """What `plan verify` found."""

    name: str
    version: int
    num_minibatches: int
    rows_compared: int
    problems: list[str]


def create(
    run: Run,
    name: Annotated[str, typer.Argument(help="The plan; a new version where there is one.")],
    graph: Annotated[str, typer.Option(help="A stored graph.")],
    features: Annotated[
        list[str], typer.Option(help="A stored feature table; of typed graphs TYPE=TABLE, once per type.")
    ],
    seeds: Annotated[Path, typer.Option(help="A .npy file of node ids: what is trained on.")],
    fanouts: Annotated[str, typer.Option(help="Neighbours drawn per hop; -1: all.", metavar="N[,N...]")] = "10,10",
    seed_type: Annotated[str | None, typer.Option(help="Of typed graphs, the node type of the seeds.")] = None,
    batch_size: Annotated[int, typer.Option(help="Seeds in a minibatch.", min=1)] = 1024,
    epochs: Annotated[int, typer.Option(help="To sample; training repeats them in turn.", min=1)] = 1,
    cache: Annotated[str, typer.Option(help="Memory for cached rows while training.", metavar="SIZE")] = "256MiB",
    memory: Annotated[str, typer.Option(help="For making the plan.", metavar="SIZE")] = "256MiB",
    disk: Annotated[
        str | None, typer.Option(help="At most, for the plan and its making [default: what is free].", metavar="SIZE")
    ] = None,
    shards: Annotated[int, typer.Option(help="Sequences of minibatches, one for each trainer.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of batching and sampling.", min=0)] = 0,
) -> None:
    """Sample the minibatches of some epochs, choose what a cache keeps, write what it misses in the order of use.

    What would pass --memory or --disk is refused before it is begun. A command that was stopped resumes when it is
    given again.
    """
    ids = _seed_ids(seeds)
    cache_bytes = 0 if cache == "0" else parse_bytes(cache)
    with run.connect() as database:
        job = database.create_plan(
            name,
            graph=graph,
            features=_tables(features),
            seeds=ids if seed_type is None else NodeSeeds(ids, seed_type),
            fanouts=parse_fanouts(fanouts),
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            cache_memory=cache_bytes,
            pack_memory=memory,
            disk=disk,
            num_shards=shards,
        )
        wait(run, job)
        with database.plan(name) as plan:
            report = plan.explain()
    run.output.result(report, text=report_text(report))


def explain(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The plan [default: list all].")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the miss curves to this .png file.", metavar="PNG")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Reckon with this device, measured for 2 s.")] = False,
) -> None:
    """Show what a plan holds, what an epoch of it reads, and how many rows caches of other sizes would miss."""
    if plot is not None:
        check_plot(plot)
    with run.connect(read_only=True) as database:
        if name is None:
            names = database.plan_names()
            run.output.result(names, text="\n".join(names) or "no plans; `outcrop plan create` makes some")
            return
        with database.plan(name) as plan:
            report = plan.explain(plan.measured_device() if measure else None)
    if plot is not None:
        plot_curves(report, plot)
    run.output.result(report, text=report_text(report))


def verify(
    run: Run,
    name: Annotated[str, typer.Argument(help="The plan.")],
    memory: Annotated[str, typer.Option(help="For reading.", metavar="SIZE")] = "256MiB",
) -> None:
    """Read every byte of a plan, follow its caches, and compare every row with the feature table; the exit code is 4
    when something is wrong."""
    began = time.monotonic()
    if run.endpoint is not None:
        raise InvalidArgument(
            f"plan verify works with --path only; `outcrop verify {name}` has a server read every byte"
        )
    with outcrop.connect(run.path, read_only=True) as database, database.plan(name) as plan:
        found = plan.verify(memory_bytes=parse_bytes(memory))
        report = PlanVerifyReport(
            name, plan.manifest.version, found.num_minibatches, found.rows_compared, [p.text for p in found.problems]
        )
        text = _verify_text(report, found, plan.explain(), time.monotonic() - began)
    run.output.result(report, text=text)
    if not found.ok:
        raise typer.Exit(ExitCode.CORRUPT)


add_command(group, create)
add_command(group, explain)
add_command(group, verify)


def parse_fanouts(text: str) -> list[int]:
    """Return the fan-outs of `10,10,-1`. Raises InvalidArgument."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidArgument(f"--fanouts: expected whole numbers such as 10,10, found {text!r}") from error


def _seed_ids(path: Path) -> Int64Array:
    try:
        ids = np.load(path, mmap_mode="r")
    except ValueError as error:
        raise InvalidArgument(f"--seeds {path}: not a .npy file of numbers: {error}") from error
    if ids.dtype.kind not in "iu" or ids.ndim != 1:
        raise InvalidArgument(f"--seeds {path}: expected integers [n], found {ids.dtype} {list(ids.shape)}")
    return np.asarray(ids)


def _tables(given: list[str]) -> str | dict[str, str]:
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    pairs = [text.partition("=") for text in given]
    if not all(equals and node_type and table for node_type, equals, table in pairs):
        raise InvalidArgument(f"--features: expected one TABLE, or TYPE=TABLE for each type, found {given}")
    return {node_type: table for node_type, _, table in pairs}


def _verify_text(report: PlanVerifyReport, found: PlanProblems, plan: PlanReport, seconds: float) -> RenderableType:
    where = f"{report.name}, version {report.version}"
    size = format_bytes(plan.disk_bytes)
    if not found.ok:
        return Group(f"{where}: CORRUPT ({size})", *(f"  {problem}" for problem in report.problems))
    counts = f"{report.num_minibatches:,} minibatches, {report.rows_compared:,} rows compared"
    return f"{where}: good; {counts} ({size}, {seconds:.1f} s)"
