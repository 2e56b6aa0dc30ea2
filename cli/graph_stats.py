"""`outcrop graph stats`: the graphs of a root, or one of them: its types, and how in-degrees are distributed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.embedded import Database as Embedded
from outcrop.errors import NotFound
from outcrop.store import format_bytes
from outcrop.types import EdgeStatistics, EdgeType

if TYPE_CHECKING:
    from outcrop.cli.place import Database, Graph


@dataclass(frozen=True, slots=True)
class EdgeFacts:
    """Of one edge type. in_degrees: of all its destinations, [least, median, 90 %, 99 %, most]. columns: what edges
    have beside their ends."""

    edge_type: str
    num_edges: int
    mean_in_degree: float
    in_degrees: list[int]
    without_in_edges: int
    columns: list[str]


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One stored graph. num_nodes: by type. node_times: types whose nodes have a time."""

    name: str
    version: int
    num_nodes: dict[str, int]
    num_edges: int
    edges: list[EdgeFacts]
    node_times: list[str]
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What an import made. format: of its source. seconds: of this call."""

    graph: GraphFacts
    format: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GraphBrief:
    """A graph in the list; all but the name is None before its first import has ended."""

    name: str
    version: int | None
    num_nodes: int | None
    num_edges: int | None
    num_edge_types: int | None
    disk_bytes: int | None


def stats(
    run: Run,
    name: Annotated[str | None, typer.Argument(help="The graph [default: list all].")] = None,
) -> None:
    """List the graphs, or show one: its types, how many nodes and edges, and how in-degrees are distributed."""
    with run.connect(read_only=True) as database:
        if name is None:
            listed = [_brief(database, found) for found in database.graph_names()]
            run.output.result(listed, text=_list_text(listed))
            return
        with opened_graph(database, name) as graph:
            facts = graph_facts(graph)
    run.output.result(facts, text=facts_text(facts))


def opened_graph(database: "Database", name: str) -> "Graph":
    """Open a graph to look at, which needs no memory for its arrays."""
    return database.graph(name, placement="map") if isinstance(database, Embedded) else database.graph(name)


def graph_facts(graph: "Graph") -> GraphFacts:
    """Return what there is to say of an open graph; every indptr is read."""
    found = graph.statistics()
    return GraphFacts(
        name=graph.name,
        version=graph.version,
        num_nodes=found.num_nodes,
        num_edges=graph.num_edges(),
        edges=[_edge_facts(edge_type, edges) for edge_type, edges in found.edges.items()],
        node_times=list(found.node_times),
        disk_bytes=found.disk_bytes,
    )


def facts_text(facts: GraphFacts) -> RenderableType:
    """Return what a person is told about a graph."""
    lines = Table.grid(padding=(0, 2))
    lines.add_row("graph", f"{facts.name}, version {facts.version}")
    for name, count in facts.num_nodes.items():
        times = ", with times" if name in facts.node_times else ""
        lines.add_row("nodes", f"{count:,} {name}{times}")
    lines.add_row("edges", f"{facts.num_edges:,}")
    lines.add_row("disk", format_bytes(facts.disk_bytes))
    table = Table(box=None)
    headings = ("edge type", "edges", "in-degree mean", "least", "median", "90 %", "99 %", "most", "without", "columns")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("edge type", "columns") else "right")
    for edges in facts.edges:
        degrees = [f"{degree:,}" for degree in edges.in_degrees]
        row = (edges.edge_type, f"{edges.num_edges:,}", f"{edges.mean_in_degree:.2f}", *degrees)
        table.add_row(*row, f"{edges.without_in_edges:,}", ", ".join(edges.columns) or "-")
    return Group(lines, "", table)


def report_text(report: GraphReport) -> RenderableType:
    """Return what a person is told about an import."""
    return Group(facts_text(report.graph), "", f"imported from {report.format} in {report.seconds:.1f} s")


def _edge_facts(edge_type: EdgeType, found: EdgeStatistics) -> EdgeFacts:
    columns = {"weight": found.weights, "time": found.times, "edge_id": found.edge_ids}
    return EdgeFacts(
        edge_type=":".join(edge_type),
        num_edges=found.num_edges,
        mean_in_degree=found.mean_in_degree,
        in_degrees=list(found.in_degrees),
        without_in_edges=found.without_in_edges,
        columns=[name for name, there in columns.items() if there],
    )


def _brief(database: "Database", name: str) -> GraphBrief:
    try:
        with opened_graph(database, name) as graph:
            numbers = graph.num_nodes(), graph.num_edges(), len(graph.edge_types)
            return GraphBrief(name, graph.version, *numbers, graph.disk_bytes)
    except NotFound:
        return GraphBrief(name, None, None, None, None, None)


def _list_text(listed: list[GraphBrief]) -> RenderableType:
    if not listed:
        return "no graphs; `outcrop graph import NAME SOURCE` makes one"
    table = Table(box=None)
    for heading in ("graph", "version", "nodes", "edges", "edge types", "disk"):
        table.add_column(heading, justify="left" if heading == "graph" else "right")
    for brief in listed:
        numbers = (brief.version, brief.num_nodes, brief.num_edges, brief.num_edge_types)
        disk = "-" if brief.disk_bytes is None else format_bytes(brief.disk_bytes)
        table.add_row(brief.name, *("-" if number is None else f"{number:,}" for number in numbers), disk)
    return table
