"""`outcrop dataset`: make, convert, look at and fetch files of vectors; make graphs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import RenderableType
from rich.table import Table
from typer.core import TyperGroup

from outcrop.cli.command import Run, add_command
from outcrop.cli.graph_make import make as make_graph
from outcrop.cli.input_files import vector_file
from outcrop.cli.output import Bar
from outcrop.datasets.download import Download
from outcrop.datasets.generate import VectorGenerator
from outcrop.datasets.ground_truth import Metric, exact_ground_truth, write_ground_truth
from outcrop.datasets.registry import StandardSet, fetch_set, standard_sets
from outcrop.datasets.vectors import write_vectors
from outcrop.errors import InvalidArgument, NotFound
from outcrop.store import format_bytes, parse_bytes


class _DatasetGroup(TyperGroup):
    """Reads `make graph` as one word; a file of vectors has an extension, so it is never called `graph`."""

    # Recent releases of typer carry a click of their own, so the classes of either must do.
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[:2] == ["make", "graph"]:
            args = ["make-graph", *args[2:]]
        return super().resolve_command(ctx, args)


group = typer.Typer(no_args_is_help=True, cls=_DatasetGroup)


@dataclass(frozen=True, slots=True)
class VectorFile:
    """A file of vectors on disk. size_bytes: of the file."""

    path: Path
    format: str
    num_rows: int
    dim: int
    dtype: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MadeSet:
    """Generated vectors, and with them queries and their true neighbours where they were asked for."""

    vectors: VectorFile
    queries: VectorFile | None
    ground_truth: Path | None
    k: int
    metric: str
    seed: int


def make(
    run: Run,
    file: Annotated[Path, typer.Argument(help="Where to write; the extension tells the format.")],
    rows: Annotated[int, typer.Option(help="How many vectors.", min=1)] = 100_000,
    dim: Annotated[int, typer.Option(min=1)] = 128,
    dtype: Annotated[str, typer.Option(help="uint8, int8, float32 or float16.")] = "uint8",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    queries: Annotated[int, typer.Option(help="Also write so many held-out queries, and their neighbours.", min=0)] = 0,
    k: Annotated[int, typer.Option("-k", help="True neighbours per query.", min=1)] = 100,
    metric: Annotated[str, typer.Option(help="Of the true neighbours: l2, ip or cosine.")] = "l2",
) -> None:
    """Generate clustered vectors about as hard to search as real ones.

    With --queries, NAME.queries.EXT and NAME.neighbors.gt are written beside FILE. `make graph FOLDER` generates a
    graph with features and labels; `make graph --help` tells more.
    """
    if dtype not in ("uint8", "int8", "float32", "float16"):
        raise InvalidArgument(f"--dtype: expected uint8, int8, float32 or float16, found {dtype!r}")
    source = VectorGenerator(rows, dim, dtype, seed)
    with run.output.progress(f"generating {rows:,} vectors", total=rows) as bar:
        write_vectors(file, source, dtype=dtype, progress=_shown(bar))
    queries_file = truth_file = None
    if queries:
        queries_file = file.with_name(f"{file.stem}.queries{file.suffix}")
        truth_file = file.with_name(f"{file.stem}.neighbors.gt")
        held_out = source.queries(queries)
        write_vectors(queries_file, held_out, dtype=dtype)
        k = min(k, rows)
        with run.output.progress("finding the true neighbours", total=rows) as bar, vector_file(file) as written:
            truth = exact_ground_truth(written, held_out, k, _metric(metric), progress=_shown(bar))
        write_ground_truth(truth_file, truth)
    made = MadeSet(describe(file), describe(queries_file) if queries_file else None, truth_file, k, metric, seed)
    run.output.result(made, text=_made_text(made))


def convert(
    run: Run,
    source: Annotated[Path, typer.Argument(help="A file of vectors.")],
    target: Annotated[Path, typer.Argument(help="Where to write; the extension tells the format.")],
    dtype: Annotated[str | None, typer.Option(help="Element type of the target [default: the format's].")] = None,
    rounded: Annotated[bool, typer.Option("--rounded", help="Round and clip where whole numbers are stored.")] = False,
    limit: Annotated[int | None, typer.Option(help="Take only the first N vectors.", min=1, metavar="N")] = None,
    part: Annotated[str | None, typer.Option(help="The HDF5 data set or Parquet column to read.")] = None,
) -> None:
    """Write the vectors of a file in another format or element type, streamed."""
    if source.exists() and target.exists() and source.samefile(target):
        raise InvalidArgument(f"{target}: is the file to read from; choose another name")
    with vector_file(source, limit, part) as rows, run.output.progress("converting", total=rows.num_rows) as bar:
        write_vectors(target, rows, dtype=_dtype(dtype), rounded=rounded, progress=_shown(bar))
    written = describe(target)
    run.output.result(written, text=_files_table([written]))


def info(
    run: Run,
    file: Annotated[Path | None, typer.Argument(help="A file of vectors [default: list the standard sets].")] = None,
    part: Annotated[str | None, typer.Option(help="The HDF5 data set or Parquet column to read.")] = None,
) -> None:
    """Tell what a file of vectors holds; without a file, the standard sets that `dataset fetch` knows."""
    if file is None:
        run.output.result(standard_sets(), text=_sets_table(standard_sets()))
        return
    described = describe(file, part)
    run.output.result(described, text=_files_table([described]))


def fetch(
    run: Run,
    name: Annotated[str, typer.Argument(help="A standard set; `outcrop dataset info` lists them.")],
    into: Annotated[Path, typer.Option(help="Folder in which a folder of that name is made.")] = Path("datasets"),
    most: Annotated[str, typer.Option(help="Refuse sets whose vectors are larger.", metavar="SIZE")] = "8GiB",
) -> None:
    """Download a standard set with its queries and neighbours. A stopped download goes on where it was."""
    known = next((known for known in standard_sets() if known.name == name), None)
    if known is None:
        raise NotFound(f"no standard set {name!r}; `outcrop dataset info` lists them")
    if known.base_bytes > parse_bytes(most):
        raise InvalidArgument(
            f"{name}: its vectors are {format_bytes(known.base_bytes)}; --most {format_bytes(known.base_bytes)} fetches"
        )
    with run.output.progress(f"fetching {name}") as bar:

        def progress_of(file: str) -> Callable[[int, int | None], None]:
            return lambda done, total: bar.update(done, total, f"fetching {file}")

        fetched = fetch_set(known, into, progress_of)
    run.output.result(fetched.downloads, text=_downloads_table(fetched.downloads))


for _command in (make, convert, info, fetch):
    add_command(group, _command, local=True)
add_command(group, make_graph, name="make-graph", hidden=True, local=True)


def describe(path: Path, part: str | None = None) -> VectorFile:
    """Return what a file of vectors holds. Raises as `open_vectors` does."""
    with vector_file(path, dataset=part) as source:
        return VectorFile(path, source.format, source.num_rows, source.dim, source.dtype.name, path.stat().st_size)


def _shown(bar: Bar) -> Callable[[int, int | None], None]:
    return lambda done, total: bar.update(done, total)


def _metric(name: str) -> Metric:
    if name not in ("l2", "ip", "cosine"):
        raise InvalidArgument(f"--metric: expected l2, ip or cosine, found {name!r}")
    return cast(Metric, name)


def _dtype(name: str | None) -> Any:
    known = ("float32", "float16", "uint8", "int8", "float64", "int32", "int64")
    if name is not None and name not in known:
        raise InvalidArgument(f"--dtype: expected one of {', '.join(known)}, found {name!r}")
    return name


def _made_text(made: MadeSet) -> RenderableType:
    table = _files_table([file for file in (made.vectors, made.queries) if file is not None])
    if made.ground_truth is not None:
        table.add_row(str(made.ground_truth), "gt", "", f"k {made.k}", made.metric, "")
    return table


def _files_table(files: list[VectorFile]) -> Table:
    table = Table(box=None)
    for heading in ("file", "format", "vectors", "dim", "type", "size"):
        table.add_column(heading, justify="right" if heading in ("vectors", "dim", "size") else "left")
    for file in files:
        row = (file.format, f"{file.num_rows:,}", str(file.dim), file.dtype, format_bytes(file.size_bytes))
        table.add_row(str(file.path), *row)
    return table


def _sets_table(sets: list[StandardSet]) -> Table:
    table = Table(box=None)
    for heading in ("set", "vectors", "dim", "type", "metric", "vectors take", "neighbours"):
        table.add_column(heading, justify="right" if heading in ("vectors", "dim", "vectors take") else "left")
    for known in sets:
        row = (f"{known.num_rows:,}", str(known.dim), known.dtype, known.metric, format_bytes(known.base_bytes))
        table.add_row(known.name, *row, "published" if known.ground_truth else "none")
    return table


def _downloads_table(downloads: tuple[Download, ...]) -> Table:
    table = Table(box=None)
    for heading in ("file", "size", "sha256", "checked against"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for download in downloads:
        against = "the publisher's" if download.verified else "none published; recorded for later"
        table.add_row(str(download.path), format_bytes(download.size_bytes), download.sha256, against)
    return table
