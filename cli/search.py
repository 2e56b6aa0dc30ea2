"""`outcrop search`: the nearest vectors of the queries in a file, and what finding them cost."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.cli.input_files import read_queries
from outcrop.cli.opening import MemoryOption, ReaderOption, opened
from outcrop.datasets.vectors import format_of, write_vectors
from outcrop.errors import InvalidArgument
from outcrop.types import Float32Array, Neighbors, SearchUsage

_QUERIES_SHOWN = 10
_NEIGHBORS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search found and cost.

    ids, distances: [num_queries, k], or None with --output. Where fewer were found, ids hold -1 (or None for text) and
    distances None, since JSON has no infinity.
    """

    num_queries: int
    k: int
    reader: str
    exact_distances: bool
    usage: SearchUsage
    output: Path | None
    ids: npt.NDArray[np.int64] | npt.NDArray[np.object_] | None
    distances: list[list[float | None]] | None


def search(
    run: Run,
    name: Annotated[str, typer.Argument(help="The collection.")],
    queries: Annotated[Path, typer.Argument(help="A file of vectors.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours per query.")] = 10,
    recall: Annotated[float | None, typer.Option(help="Of the true neighbours, the share to find.")] = None,
    nprobe: Annotated[int | None, typer.Option(help="Instead: posting lists to probe.")] = None,
    rerank: Annotated[int | None, typer.Option(help="Candidates whose raw vectors are read.", min=0)] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector.")] = False,
    limit: Annotated[int | None, typer.Option(help="Take only the first N queries.", min=1, metavar="N")] = None,
    output: Annotated[Path | None, typer.Option(help="Write ids and distances (.npz) or ids (.ivecs) here.")] = None,
    memory: MemoryOption = None,
    threads: Annotated[int | None, typer.Option(help="[default: all cores]", min=1)] = None,
    reader: ReaderOption = None,
) -> None:
    """Find the nearest vectors of each query in a file. Without --recall, 0.95 is asked."""
    _check_output(output)
    rows = read_queries(queries, limit)
    with opened(run, name, memory, threads, reader) as (collection, _):
        found = collection.search(rows, k, recall=recall, nprobe=nprobe, rerank=rerank, exact=exact)
        reader_kind = collection.statistics().reader.kind
    if output is not None:
        _write(output, found)
    ids, distances = (found.ids, _plain(found.distances)) if output is None else (None, None)
    report = SearchReport(len(found), k, reader_kind, found.exact_distances, found.usage, output, ids, distances)
    run.output.result(report, text=_text(report, found))


def _check_output(output: Path | None) -> None:
    if output is not None and output.suffix not in (".npz", ".ivecs"):
        raise InvalidArgument(f"{output}: expected a name that ends in .npz or .ivecs")


def _write(output: Path, found: Neighbors) -> None:
    if output.suffix == ".npz":
        # Text becomes fixed-width text, since an array of objects could only be pickled.
        ids = found.ids if found.ids.dtype.kind == "i" else np.where(found.ids == None, "", found.ids).astype(str)  # noqa: E711
        np.savez(output, ids=ids, distances=found.distances)
        return
    if found.ids.dtype.kind != "i":
        raise InvalidArgument(f"{output}: ivecs holds integers, the collection has string ids; use .npz")
    assert format_of(output) == "ivecs"
    write_vectors(output, found.ids, dtype=np.int32)


def _plain(distances: Float32Array) -> list[list[float | None]]:
    return [[value if math.isfinite(value) else None for value in row] for row in distances.tolist()]


def _text(report: SearchReport, found: Neighbors) -> RenderableType:
    parts: list[RenderableType] = [] if report.output else [_hits_table(found), ""]
    return Group(
        *parts, usage_text(report.usage, report.reader), *([f"written: {report.output}"] if report.output else [])
    )


def usage_text(usage: SearchUsage, reader: str) -> str:
    """Return one line on what a search cost, per query."""
    n = max(1, usage.queries)
    seconds = usage.elapsed_us / 1e6
    return (
        f"{usage.queries:,} queries in {seconds:.2f} s, {usage.queries / max(seconds, 1e-9):,.0f}/s; per query "
        f"{usage.reads / n:.1f} reads, {usage.bytes / n / 1000:,.0f} KB, {usage.device_us / n:,.0f} us of the device; "
        f"{usage.lists / n:.1f} lists, {usage.cache_hits / n:.1f} of them from memory; reader {reader}"
    )


def _hits_table(found: Neighbors) -> Table:
    table = Table(box=None)
    table.add_column("query", justify="right")
    shown = min(_NEIGHBORS_SHOWN, found.ids.shape[1])
    more = found.ids.shape[1] - shown
    table.add_column(f"ids (distances){f', {more} more each' if more else ''}")
    for query in range(min(_QUERIES_SHOWN, len(found))):
        pairs = zip(found.ids[query, :shown], found.distances[query, :shown], strict=True)
        table.add_row(str(query), "  ".join(f"{id} ({distance:.6g})" for id, distance in pairs))
    if len(found) > _QUERIES_SHOWN:
        table.add_row("...", f"{len(found) - _QUERIES_SHOWN:,} more; --json or --output gives all")
    return table
