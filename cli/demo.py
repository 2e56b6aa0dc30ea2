"""`outcrop demo`: an index built and searched, a model trained from SSD, both explained, without asking anything."""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Group, RenderableType

import outcrop
from outcrop.cli.build import BuildReport, build_summary, report_of, wait
from outcrop.cli.command import Run
from outcrop.cli.demo_graph import GRAPH, GraphDemoReport, graph_demo, training_text
from outcrop.cli.demo_serve import ServedReport, served_demo
from outcrop.cli.eval import measurements_table
from outcrop.cli.input_files import read_queries, vector_file
from outcrop.cli.measurement import Knob, Measurement, measure
from outcrop.cli.opening import opened
from outcrop.cli.plot import can_plot, plot
from outcrop.cli.truth import read_truth
from outcrop.datasets.generate import VectorGenerator
from outcrop.datasets.ground_truth import exact_ground_truth, write_ground_truth
from outcrop.datasets.vectors import write_vectors
from outcrop.embedded import CollectionInfo, CollectionStatistics
from outcrop.store import format_bytes

DEMO_PATH = Path("demo-data")
NAME = "demo"
MEMORY = "8MiB"
_REAL = Path("../shared/data/sift-photos")
_QUERIES = 1000
_RECALLS = (0.9, 0.95, 0.99)
_THREADS = 2


@dataclass(frozen=True, slots=True)
class DemoInput:
    """Files of vectors, of queries for them and of the true neighbours of those; description: for people."""

    vectors: Path
    queries: Path
    ground_truth: Path
    description: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo did. explanation, next_commands: for people, a sentence or a command each; the explanation of
    `training` is its own."""

    input: DemoInput
    build: BuildReport
    measurements: list[Measurement]
    reader: str
    reader_reason: str
    memory: dict[str, int]
    plot: Path | None
    training: GraphDemoReport
    served: ServedReport
    seconds: float
    explanation: list[str]
    next_commands: list[str]


def demo(
    run: Run,
    rows: Annotated[int, typer.Option(help="Vectors to generate where no real ones are found.", min=100)] = 200_000,
    nodes: Annotated[int, typer.Option(help="Nodes of a graph to generate, likewise.", min=100)] = 200_000,
    generated: Annotated[bool, typer.Option("--generated", help="Generate vectors and graph even so.")] = False,
) -> None:
    """Search vectors and train on a graph, both from SSD, explain what was read, and ask the same through a server.

    Uses SIFT descriptors of photographs and the packages of Debian from ../shared/data where they are there, else
    generated vectors and a generated graph. Everything it writes lies below --path. Training needs PyTorch; without it
    the minibatches are only loaded.
    """
    began = time.monotonic()
    outcrop.connect(run.path).close()
    given = _real_input() if _REAL.is_dir() and not generated else _generated_input(run, rows)
    run.output.note(f"vectors: {given.description}")
    build = _build(run, given)
    run.output.note(Group("", build_summary(build), ""))
    measurements, info, statistics = _search(run, given)
    plot_file = run.path / "demo.png" if can_plot() else None
    if plot_file is not None:
        plot(measurements, f"{given.description}, {MEMORY} of memory", plot_file)
    training = graph_demo(run, nodes, generated)
    served = served_demo(run, NAME, MEMORY, read_queries(given.queries, _QUERIES), given.ground_truth)
    report = DemoReport(
        input=given,
        build=build,
        measurements=measurements,
        reader=statistics.reader.kind,
        reader_reason=statistics.reader.reason,
        memory=dict(statistics.memory.owners),
        plot=plot_file,
        training=training,
        served=served,
        seconds=time.monotonic() - began,
        explanation=explanation(info, statistics, measurements),
        next_commands=_next_commands(run.path, given),
    )
    run.output.result(report, text=_text(report))


def _real_input() -> DemoInput:
    description = "300,000 SIFT descriptors of photographs (128 bytes each), queries from other photographs"
    return DemoInput(_REAL / "base.npy", _REAL / "queries.npy", _REAL / "gt.npy", description)


def _generated_input(run: Run, rows: int) -> DemoInput:
    """Generate vectors, queries and true neighbours, unless an earlier demo left the same ones."""
    folder = run.path / "vectors"
    folder.mkdir(exist_ok=True)
    description = f"{rows:,} generated vectors of 128 bytes, clustered as SIFT descriptors are"
    given = DemoInput(
        folder / f"base-{rows}.u8bin", folder / "queries.u8bin", folder / f"neighbors-{rows}.gt", description
    )
    if given.ground_truth.exists():  # it is written last
        return given
    source = VectorGenerator(rows, 128, np.uint8)
    queries = source.queries(_QUERIES)
    with run.output.progress("generating vectors", total=rows) as bar:
        write_vectors(given.vectors, source, progress=bar.update)
    write_vectors(given.queries, queries)
    with run.output.progress("finding the true neighbours", total=rows) as bar, vector_file(given.vectors) as written:
        truth = exact_ground_truth(written, queries, min(100, rows), "l2", progress=bar.update)
    write_ground_truth(given.ground_truth, truth)
    return given


def _build(run: Run, given: DemoInput) -> BuildReport:
    began = time.monotonic()
    with vector_file(given.vectors) as source, outcrop.connect(run.path) as database:
        if NAME in database.collection_names():
            collection = database.collection(NAME)
        else:
            collection = database.create_collection(NAME, dim=source.dim, dtype=source.dtype.name)
        wait(run, collection.build(source, memory="256MiB", search_memory=MEMORY))
        return report_of(collection.info(), time.monotonic() - began)


def _search(run: Run, given: DemoInput) -> tuple[list[Measurement], CollectionInfo, CollectionStatistics]:
    queries = read_queries(given.queries, _QUERIES)
    measurements: list[Measurement] = []
    with opened(run, NAME, MEMORY, _THREADS) as (collection, info):
        truth = read_truth(collection, queries, 10, given.ground_truth, None)
    with run.output.progress("searching", total=2 * len(_RECALLS)) as bar:
        for cache in ("cold", "warm"):
            with opened(run, NAME, MEMORY, _THREADS, cache_lists=cache == "warm") as (collection, _):
                for recall in _RECALLS:
                    knob = Knob(recall=recall)
                    measurements.append(measure(collection, queries, truth, 10, knob, _THREADS, cache))
                    bar.advance()
                statistics = collection.statistics()
    return measurements, info, statistics


def explanation(info: CollectionInfo, statistics: CollectionStatistics, measurements: list[Measurement]) -> list[str]:
    """Return what happened, in sentences that say numbers of this very run."""
    properties = info.properties
    index, reader, raw_bytes = statistics.index, statistics.reader, properties["raw_bytes"]
    example = next(m for m in measurements if m.asked == "recall 0.95" and m.cache == "cold")
    copies = properties["num_entries"] / info.num_rows
    share = example.lists / properties["num_lists"]
    read_kb = example.bytes / 1e3 / max(example.reads, 1e-9)
    budget = format_bytes(statistics.memory.budget_bytes)
    fallback = "" if reader.kind == "io_uring" else "; identical results, fewer reads in flight per thread"
    return [
        f"On SSD: the vectors take {format_bytes(raw_bytes)}, the index {format_bytes(info.disk_bytes)}, "
        f"{info.disk_bytes / raw_bytes:.2f} times as much: every vector lies in {copies:.2f} posting lists on average, "
        f"so that a query finds its neighbours in fewer of them.",
        f"In memory, within {budget}: {properties['num_centroids']:,} centroids "
        f"({format_bytes(index.centroid_bytes)}), where their lists lie ({format_bytes(index.directory_bytes)}), "
        f"buffers for reads in flight ({format_bytes(index.buffer_bytes)}), and with what is left a cache of lists "
        f"that are asked often ({format_bytes(index.cache_capacity_bytes)}).",
        f"Read per query at recall {example.recall:.3f} with an empty cache: {example.lists:.0f} of "
        f"{properties['num_lists']:,} lists ({share:.2%}), those of the nearest centroids, by "
        f"{example.reads:.1f} reads of {read_kb:.0f} KB on average: lists that are near in space lie together, and "
        f"neighbours share a read.",
        f"Reader: {reader.kind} ({reader.reason}){fallback}.",
    ]


def _next_commands(path: Path, given: DemoInput) -> list[str]:
    # A checkout's virtual environment is seldom on the PATH: then its own path is what works when pasted.
    outcrop = "outcrop" if shutil.which("outcrop") else sys.argv[0]
    return [
        f"{outcrop} search {NAME} {given.queries} --path {path} --recall 0.99 -k 5 --limit 3",
        f"{outcrop} eval {NAME} {given.queries} --ground-truth {given.ground_truth} --path {path}",
        f"{outcrop} inspect {NAME} --path {path}",
        f"{outcrop} verify {NAME} --path {path}",
        f"{outcrop} plan explain {GRAPH} --path {path}",
        f"{outcrop} doctor --path {path}",
        f"{outcrop} serve --path {path} --dashboard",
        f"{outcrop} build mine my-vectors.fbin --metric cosine",
    ]


def _text(report: DemoReport) -> RenderableType:
    commands = "\n".join(f"  {command}" for command in report.next_commands)
    drawn = [f"drawn: {report.plot}"] if report.plot else []
    return Group(
        measurements_table(report.measurements, _THREADS),
        "",
        *report.explanation,
        "",
        *training_text(report.training),
        "",
        report.served.explanation,
        "",
        *drawn,
        f"The demo took {report.seconds:.0f} s. What to try next:",
        commands,
    )
