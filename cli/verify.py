"""`outcrop verify`: every checksum, and that every vector can be found."""

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType

import outcrop
from outcrop.ann import VerifyReport
from outcrop.cli.command import Run
from outcrop.cli.exit_codes import ExitCode
from outcrop.embedded import Database
from outcrop.errors import NotFound
from outcrop.store import format_bytes
from outcrop.types import Progress


def verify(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The collection [default: all].")] = None,
    memory: Annotated[str, typer.Option(help="For reading and sorting.", metavar="SIZE")] = "256MiB",
) -> None:
    """Read every byte of a collection, or of all, and say what is wrong; the exit code is 4 when something is.

    Checked are all checksums, that each vector is in exactly one list as its primary, that ids occur once, and that
    copies and bounds are true.
    """
    began = time.monotonic()
    with outcrop.connect(run.path, read_only=True) as database:
        if name is None:
            verified = [_verify_if_built(run, database, each, memory) for each in database.collection_names()]
        else:
            verified = [_verify(run, database, name, memory)]
    reports = [report for report in verified if report is not None]
    run.output.result(reports, text=_text(reports, time.monotonic() - began))
    if any(report.problems for report in reports):
        raise typer.Exit(ExitCode.CORRUPT)


def _verify_if_built(run: Run, database: Database, name: str, memory: str) -> VerifyReport | None:
    try:
        return _verify(run, database, name, memory)
    except NotFound:
        run.output.note(f"{name}: holds nothing yet")
        return None


def _verify(run: Run, database: Database, name: str, memory: str) -> VerifyReport:
    with run.output.progress(f"verifying {name}", total=100) as bar:

        def show(progress: Progress) -> None:
            bar.update(round(100 * progress.fraction), description=f"verifying {name}: {progress.stage}")

        return database.collection(name).verify(memory=memory, progress=show)


def _text(reports: list[VerifyReport], seconds: float) -> RenderableType:
    lines: list[RenderableType] = []
    for report in reports:
        lines.append(_line(report))
        lines += [f"  {problem.text}" for problem in report.problems]
        if report.problems and not report.reachability_checked:
            lines.append("  the lists were not walked: their files are damaged")
    lines.append(f"{seconds:.1f} s" if reports else "no collections")
    return Group(*lines)


def _line(report: VerifyReport) -> str:
    where = report.name if report.version is None else f"{report.name}, version {report.version}"
    read = f"{report.num_files} files, {format_bytes(report.size_bytes)}"
    if report.problems:
        return f"{where}: CORRUPT, {len(report.problems)} problems ({read})"
    return f"{where}: good; all {report.num_rows:,} vectors reachable by {report.num_entries:,} entries ({read})"
