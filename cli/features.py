"""`outcrop features`: import tables of feature rows, and look at them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.build import wait
from outcrop.cli.command import Run, add_command
from outcrop.datasets.rows import open_rows
from outcrop.errors import InvalidArgument, NotFound
from outcrop.gnn_loader import CODECS
from outcrop.store import format_bytes, parse_bytes

if TYPE_CHECKING:
    from outcrop.cli.place import Database

group = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class FeatureFacts:
    """One stored table. dtype, row_shape: of rows as they are fetched. row_bytes: of a row on disk. All but the name is
    None before the first import has ended."""

    name: str
    version: int | None = None
    num_rows: int | None = None
    row_shape: tuple[int, ...] | None = None
    dtype: str | None = None
    codec: str | None = None
    row_bytes: int | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """What an import made. source_bytes: of its rows before coding. seconds: of this call."""

    features: FeatureFacts
    source_bytes: int
    seconds: float


def import_features(
    run: Run,
    name: Annotated[str, typer.Argument(help="The table; a new version where there is one.")],
    file: Annotated[Path, typer.Argument(help="npy, npz, header-less, text, vectors, or metadata.yaml.")],
    codec: Annotated[str, typer.Option(help=f"How rows are stored: {', '.join(CODECS)}.")] = "raw",
    part: Annotated[str | None, typer.Option(help="Of npz, HDF5, Parquet, or a feature of metadata.yaml.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of a header-less file (float32, >f4, bfloat16, ...) or of text.")
    ] = None,
    row_shape: Annotated[
        str | None, typer.Option(help="Of a header-less file: 1024, or 3,32,32.", metavar="N[,N...]")
    ] = None,
    memory: Annotated[str, typer.Option(help="For the import's own arrays.", metavar="SIZE")] = "256MiB",
) -> None:
    """Import a row for each node, streamed: features, labels, or any numbers.

    raw keeps every bit; the other codecs take rows of floats and halve or quarter them. A file without a header is read
    by --dtype and --row-shape, whatever it is called. An import that was stopped resumes when the same command is given
    again.
    """
    began = time.monotonic()
    if codec not in CODECS:
        raise InvalidArgument(f"--codec: expected one of {', '.join(CODECS)}, found {codec!r}")
    with run.output.progress("opening"):
        source = open_rows(file, part, dtype, None if row_shape is None else _shape(row_shape))
    with run.connect() as database:
        wait(run, database.import_features(name, source, codec=codec, memory=parse_bytes(memory)))
        facts = _facts(database, name)
    row_bytes = source.dtype.itemsize
    for length in source.row_shape:
        row_bytes *= length
    report = FeatureReport(facts, source.num_rows * row_bytes, time.monotonic() - began)
    run.output.result(report, text=_report_text(report))


def stats(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The table [default: list all].")] = None,
) -> None:
    """List the feature tables, or show one: rows, their shape and type, the codec, and the disk they take."""
    with run.connect(read_only=True) as database:
        if name is not None:
            facts = _facts(database, name)
            run.output.result(facts, text=_table([facts]))
            return
        listed = [_facts_if_any(database, found) for found in database.feature_names()]
    run.output.result(listed, text=_table(listed) if listed else "no features; `outcrop features import` makes some")


add_command(group, import_features, name="import")
add_command(group, stats)


def _shape(text: str) -> tuple[int, ...]:
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(piece.isdecimal() and int(piece) > 0 for piece in pieces):
        raise InvalidArgument(f"--row-shape {text!r}: expected numbers above 0, such as 1024 or 3,32,32")
    return tuple(int(piece) for piece in pieces)


def _facts(database: "Database", name: str) -> FeatureFacts:
    with database.features(name) as table:
        return FeatureFacts(
            name=name,
            version=table.version,
            num_rows=table.num_rows,
            row_shape=tuple(table.row_shape),
            dtype=table.logical_dtype,
            codec=table.codec_name,
            row_bytes=table.row_bytes,
            disk_bytes=table.disk_bytes,
        )


def _facts_if_any(database: "Database", name: str) -> FeatureFacts:
    try:
        return _facts(database, name)
    except NotFound:
        return FeatureFacts(name)


def _table(listed: list[FeatureFacts]) -> Table:
    table = Table(box=None)
    for heading in ("features", "version", "rows", "of", "type", "codec", "bytes per row", "disk"):
        table.add_column(heading, justify="left" if heading in ("features", "of", "type", "codec") else "right")
    for facts in listed:
        if facts.row_shape is None or facts.disk_bytes is None:
            table.add_row(facts.name, *["-"] * 7)
            continue
        shape = " x ".join(map(str, facts.row_shape)) or "one number"
        row = (str(facts.version), f"{facts.num_rows:,}", shape, facts.dtype, facts.codec, f"{facts.row_bytes:,}")
        table.add_row(facts.name, *row, format_bytes(facts.disk_bytes))
    return table


def _report_text(report: FeatureReport) -> RenderableType:
    stored = report.features.disk_bytes or 0
    share = f", {stored / report.source_bytes:.2f} times the source" if report.source_bytes else ""
    return Group(_table([report.features]), "", f"imported in {report.seconds:.1f} s, {format_bytes(stored)}{share}")
