"""`outcrop verify`: every checksum, that every vector can be found, that every edge is one."""

import time
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Group, RenderableType

from outcrop.ann import VerifyReport
from outcrop.cli.command import Run
from outcrop.cli.exit_codes import ExitCode
from outcrop.errors import NotFound
from outcrop.store import format_bytes
from outcrop.types import Progress, StoredReport

if TYPE_CHECKING:
    from outcrop.cli.place import Database

Report: TypeAlias = VerifyReport | StoredReport


def verify(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="A collection, graph, table or plan [default: all].")] = None,
    memory: Annotated[str, typer.Option(help="For reading and sorting.", metavar="SIZE")] = "256MiB",
) -> None:
    """Read every byte of a collection, or of all, and say what is wrong; the exit code is 4 when something is.

    Checked are all checksums, that each vector is in exactly one list as its primary, that ids occur once, and that
    copies and bounds are true. Of graphs: checksums, and that every edge names nodes and is in its place. Of feature
    tables: checksums. Of plans: checksums, and that every row is that of its feature table.
    """
    began = time.monotonic()
    with run.connect(read_only=True) as database:
        collections = [each for each in database.collection_names() if name in (None, each)]
        others = [each for each in database.stored_names() if name in (None, each[1])]
        if name is not None and not collections and not others:
            raise NotFound(f"{name}: no collection, graph, feature table or plan has this name")
        verify_one = _verify_if_built if name is None or len(collections) + len(others) > 1 else _verify
        verified = [verify_one(run, database, None, each, memory) for each in collections]
        verified += [verify_one(run, database, kind, each, memory) for kind, each in others]
    reports = [report for report in verified if report is not None]
    run.output.result(reports, text=_text(reports, time.monotonic() - began))
    if any(report.problems for report in reports):
        raise typer.Exit(ExitCode.CORRUPT)


def _verify_if_built(run: Run, database: "Database", kind: str | None, name: str, memory: str) -> Report | None:
    try:
        return _verify(run, database, kind, name, memory)
    except NotFound:
        run.output.note(f"{name}: holds nothing yet")
        return None


def _verify(run: Run, database: "Database", kind: str | None, name: str, memory: str) -> Report:
    """kind: None for a collection."""
    with run.output.progress(f"verifying {name}", total=100) as bar:

        def show(progress: Progress) -> None:
            bar.update(round(100 * progress.fraction), description=f"verifying {name}: {progress.stage}")

        if kind is None:
            return database.collection(name).verify(memory=memory, progress=show)
        return database.verify(kind, name, memory=memory, progress=show)


def _text(reports: list[Report], seconds: float) -> RenderableType:
    lines: list[RenderableType] = []
    for report in reports:
        lines.append(_line(report))
        lines += [f"  {problem.text}" for problem in report.problems]
        if isinstance(report, VerifyReport) and report.problems and not report.reachability_checked:
            lines.append("  the lists were not walked: their files are damaged")
    lines.append(f"{seconds:.1f} s" if reports else "nothing to verify")
    return Group(*lines)


def _line(report: Report) -> str:
    kind = "" if isinstance(report, VerifyReport) else f" ({report.kind})"
    where = f"{report.name}{kind}" if report.version is None else f"{report.name}{kind}, version {report.version}"
    read = f"{report.num_files} files, {format_bytes(report.size_bytes)}"
    if report.problems:
        return f"{where}: CORRUPT, {len(report.problems)} problems ({read})"
    if isinstance(report, VerifyReport):
        return f"{where}: good; all {report.num_rows:,} vectors reachable by {report.num_entries:,} entries ({read})"
    return f"{where}: good ({read})"
