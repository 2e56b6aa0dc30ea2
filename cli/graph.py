"""`outcrop graph`: import graphs, look at them, make them."""

import time
from typing import Annotated

import typer

from outcrop.cli.build import wait
from outcrop.cli.command import Run, add_command
from outcrop.cli.graph_make import make
from outcrop.cli.graph_stats import GraphReport, graph_facts, opened_graph, report_text, stats
from outcrop.datasets.graph_files import GraphFiles
from outcrop.datasets.graphs import open_graph, open_typed_edges
from outcrop.errors import InvalidArgument
from outcrop.store import parse_bytes
from outcrop.types import NODE, EdgeType

group = typer.Typer(no_args_is_help=True)


def import_graph(
    run: Run,
    name: Annotated[str, typer.Argument(help="The graph; a new version where there is one.")],
    source: Annotated[
        list[str], typer.Argument(help="A file of edges or a folder; or TYPE:RELATION:TYPE=FILE for each edge type.")
    ],
    nodes: Annotated[
        str | None, typer.Option(help="N, or TYPE=N,TYPE=N [default: what files say, or the largest id].")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Of a table: src=A,dst=B,weight=C,time=D,edge_id=E; names, or numbers from 0.")
    ] = None,
    part: Annotated[str | None, typer.Option(help="Of an npz file with several arrays.")] = None,
    edge_ids: Annotated[
        bool, typer.Option("--edge-ids", help="Number edges as they come: rows of edge features stay valid.")
    ] = False,
    undirected: Annotated[bool, typer.Option("--undirected", help="Add the reverse of every edge.")] = False,
    memory: Annotated[str, typer.Option(help="For the import's own arrays.", metavar="SIZE")] = "256MiB",
) -> None:
    """Import a graph in bounded memory.

    Files: npy or npz of pairs, csv, tsv or txt (gzipped or not), Parquet. Folders: indptr.npy and indices.npy, src.npy
    and dst.npy, OGB's raw, IGB's and MAG240M's processed, GraphBolt's metadata.yaml. An import that was stopped resumes
    when the same command is given again.
    """
    began = time.monotonic()
    with run.output.progress("opening"):
        files = _open(source, None if nodes is None else _counts(nodes), columns, part, edge_ids, undirected)
    with run.connect() as database:
        wait(run, database.import_graph(name, files, memory=parse_bytes(memory)))
        with opened_graph(database, name) as graph:
            report = GraphReport(graph_facts(graph), files.format, time.monotonic() - began)
    run.output.result(report, text=report_text(report))


add_command(group, import_graph, name="import")
add_command(group, stats)
add_command(group, make, local=True)


def _open(
    sources: list[str],
    nodes: dict[str, int] | None,
    columns: str | None,
    part: str | None,
    edge_ids: bool,
    undirected: bool,
) -> GraphFiles:
    if len(sources) == 1 and "=" not in sources[0]:
        return open_graph(sources[0], nodes, columns, part, edge_ids, undirected)
    if undirected:
        raise InvalidArgument("--undirected: is for one file or folder; give a typed graph its reverse edges as a type")
    if part is not None:
        raise InvalidArgument(f"--part {part}: is for one file; write each edge type's array to a file of its own")
    files: dict[EdgeType, str] = {}
    for text in sources:
        types, _, path = text.partition("=")
        parts = types.split(":")
        if len(parts) != 3 or not all(parts) or not path:
            raise InvalidArgument(f"source {text!r}: expected one path, or TYPE:RELATION:TYPE=FILE for each edge type")
        edge_type = parts[0], parts[1], parts[2]
        if edge_type in files:
            raise InvalidArgument(f"source {text!r}: this edge type has a file already, {files[edge_type]}")
        files[edge_type] = path
    return open_typed_edges(files, nodes, columns, edge_ids)


def _counts(text: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for piece in text.split(","):
        name, equals, count = piece.rpartition("=")
        if not count.isdecimal() or (equals and not name) or (name or NODE) in counts:
            raise InvalidArgument(f"--nodes {text!r}: expected a number, or TYPE=NUMBER,TYPE=NUMBER")
        counts[name or NODE] = int(count)
    return counts
