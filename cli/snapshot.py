"""`outcrop snapshot`: keep what is there at one instant, take it elsewhere, bring it back."""

import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.build import wait
from outcrop.cli.command import Run, add_command
from outcrop.cli.exit_codes import ExitCode
from outcrop.errors import InvalidArgument
from outcrop.jobs import Job
from outcrop.snapshots import verify_archive
from outcrop.types import SnapshotInfo, SnapshotReport, format_bytes

group = typer.Typer(no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The snapshot.")]
SourceArgument = Annotated[str, typer.Argument(help="The snapshot; or an archive, given with a slash: ./FILE.")]


def create(
    run: Run,
    name: NameArgument,
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", help="Of it alone; may be repeated [default: everything].", metavar="KIND/NAME"),
    ] = None,
) -> None:
    """Keep the present versions of collections, graphs, features and plans, all of one instant.

    Nothing is copied. What the snapshot holds stays, whatever is built, dropped or collected, until it is deleted.
    """
    with run.connect(create=False) as database:
        made = database.create_snapshot(name, objects=_objects(objects))
    run.output.result(made, text=_text(made))


def list_snapshots(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The snapshot [default: all, in short].")] = None,
) -> None:
    """List the snapshots, or what one of them holds."""
    with run.connect(read_only=True) as database:
        if name is not None:
            found = database.snapshot(name)
            run.output.result(found, text=_text(found))
            return
        listed = database.list_snapshots()
    run.output.result(listed, text=_table(listed) if listed else "no snapshots; `outcrop snapshot create` makes one")


def verify(
    run: Run,
    source: SourceArgument,
    memory: Annotated[str, typer.Option(help="For tables of checksums.", metavar="SIZE")] = "256MiB",
) -> None:
    """Read every byte of a snapshot, or of an archive, and say what is wrong; the exit code is 4 when something is.

    An archive is read here; it needs neither a folder nor a server.
    """
    if _is_archive(source):
        report = _waited(run, verify_archive(source))
    else:
        with run.connect(read_only=True) as database:
            report = _waited(run, database.verify_snapshot(source, memory=memory))
    run.output.result(report, text=_report_text(report))
    if report.problems:
        raise typer.Exit(ExitCode.CORRUPT)


def export(
    run: Run,
    name: NameArgument,
    file: Annotated[Path, typer.Argument(help="A new file: all of the snapshot, to be kept or restored elsewhere.")],
) -> None:
    """Write a snapshot to one file, every block checked on its way. What was stopped goes on when it is given again."""
    with run.connect(read_only=True) as database:
        job = database.export_snapshot(name, file)
        wait(run, job)
        written = job.wait()
    run.output.result(written, text=f"{written.path}: {format_bytes(written.size_bytes)}, etag {written.etag}")


def restore(
    run: Run,
    source: SourceArgument,
    objects: Annotated[
        list[str] | None,
        typer.Option("--object", help="It alone; may be repeated [default: everything].", metavar="KIND/NAME"),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="Another name for an object; may be repeated.", metavar="[KIND/]NAME=NEW"),
    ] = None,
) -> None:
    """Make what a snapshot holds current again, here: as new versions of what is there, or new.

    Everything is copied and checked before the first version appears; what is there unchanged is left alone. A restore
    that was stopped goes on when the same command is given again.
    """
    with run.connect() as database:
        job = database.restore_snapshot(_source(source), objects=_objects(objects), rename=_renames(rename))
        wait(run, job)
        report = job.wait()
    lines = [f"{each.kind}/{each.name}: version {each.version}" for each in report.objects]
    run.output.result(report, text="\n".join(lines))


def delete(run: Run, name: NameArgument) -> None:
    """Forget a snapshot, and remove what only it has kept."""
    with run.connect(create=False) as database:
        database.delete_snapshot(name)
    run.output.result({"deleted": name}, text=f"deleted {name}")


add_command(group, create)
add_command(group, list_snapshots, name="list")
add_command(group, verify)
add_command(group, export)
add_command(group, restore)
add_command(group, delete)


def _waited(run: Run, job: Job[SnapshotReport]) -> SnapshotReport:
    wait(run, job)
    return job.wait()


def _is_archive(source: str) -> bool:
    return "/" in source


def _source(source: str) -> str | Path:
    return Path(source) if _is_archive(source) else source


def _objects(given: list[str] | None) -> list[tuple[str, str]] | None:
    if not given:
        return None
    pairs = [text.partition("/") for text in given]
    if not all(kind and name for kind, _, name in pairs):
        raise InvalidArgument(f"--object: expected KIND/NAME, such as collections/docs; found {', '.join(given)}")
    return [(kind, name) for kind, _, name in pairs]


def _renames(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or []]
    if not all(old and new for old, _, new in pairs):
        raise InvalidArgument(f"--rename: expected NAME=NEW or KIND/NAME=NEW; found {', '.join(given or [])}")
    return {old: new for old, _, new in pairs}


def _when(snapshot: SnapshotInfo) -> str:
    return datetime.datetime.fromtimestamp(snapshot.created_unix).astimezone().isoformat(" ", "seconds")


def _table(listed: list[SnapshotInfo]) -> Table:
    table = Table(box=None)
    for heading in ("snapshot", "made", "objects", "size"):
        table.add_column(heading, justify="right" if heading in ("objects", "size") else "left")
    for each in listed:
        table.add_row(each.name, _when(each), str(len(each.objects)), format_bytes(each.size_bytes))
    return table


def _text(snapshot: SnapshotInfo) -> RenderableType:
    table = Table(box=None)
    for heading in ("object", "version", "size"):
        table.add_column(heading, justify="left" if heading == "object" else "right")
    for each in snapshot.objects:
        table.add_row(f"{each.kind}/{each.name}", str(each.version), format_bytes(each.size_bytes))
    return Group(f"{snapshot.name}, made {_when(snapshot)}, {format_bytes(snapshot.size_bytes)}", table)


def _report_text(report: SnapshotReport) -> RenderableType:
    size = f"{report.num_objects} objects, {format_bytes(report.size_bytes)}"
    if not report.problems:
        return f"{report.name}: good ({size})"
    lines = [f"{problem.file}: {problem.text}" for problem in report.problems]
    return Group(f"{report.name}: CORRUPT, {len(lines)} problems ({size})", *lines)
