"""The second half of `outcrop demo`: a graph imported, its minibatches planned, a model trained from SSD."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

import outcrop
from outcrop.cli.build import wait
from outcrop.cli.command import Run
from outcrop.cli.train import Task, read_task, training_module
from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.datasets.graphs import open_graph
from outcrop.datasets.rows import open_rows
from outcrop.embedded import Database
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import LoaderStatistics, PlanReport
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.store import format_bytes
from outcrop.types import NodeSeeds

GRAPH = "demo-graph"
_REAL = Path("../shared/data/debian-deps")
_FANOUTS = [10, 10]
_BATCH_SIZE = 1024
_EPOCHS = 5
_CACHE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class GraphInput:
    """A folder with features, labels and train nodes, and the path of its graph; description: for people."""

    folder: Path
    graph: Path
    description: str


@dataclass(frozen=True, slots=True)
class GraphDemoReport:
    """What was trained, and from where its rows came. epochs: of training, None without PyTorch. rows_*: of an epoch;
    load_seconds: of an epoch whose consumer does nothing."""

    description: str
    plan: PlanReport
    cache_bytes: int
    load_seconds: float
    rows_cached: int
    rows_read: int
    device_bytes: int
    device_reads: int
    epochs: list[Any] | None
    test_accuracy: float | None
    explanation: list[str]


def graph_demo(run: Run, nodes: int, generated: bool) -> GraphDemoReport:
    """Import a graph and its features, plan the minibatches of some epochs, load them, and train if PyTorch is here.

    nodes: of a generated graph, which is made where the real one is not found or `generated` says so.
    """
    given = _real() if _REAL.is_dir() and not generated else _generated(run, nodes)
    run.output.note(f"graph: {given.description}")
    task = read_task(given.folder)
    with outcrop.connect(run.path) as database:
        feature_bytes = _import(run, database, given)
        cache_bytes = max(1 << 16, int(_CACHE_SHARE * feature_bytes))
        options: dict[str, Any] = {"graph": GRAPH, "features": GRAPH, "fanouts": _FANOUTS, "batch_size": _BATCH_SIZE}
        wait(run, database.create_plan(GRAPH, seeds=task.train, epochs=_EPOCHS, cache_memory=cache_bytes, **options))
        with database.plan(GRAPH) as plan:
            report = plan.explain()
            seconds, loaded = _load(plan.loader())
            epochs, test_accuracy = _train(run, database, plan.loader(), task)
    stream = next(iter(loaded.streams.values()))
    per_epoch = (loaded.device_bytes // _EPOCHS, loaded.device_reads // _EPOCHS)
    rows = (stream.hit_rows // _EPOCHS, stream.log_rows // _EPOCHS)
    return GraphDemoReport(
        given.description,
        report,
        cache_bytes,
        seconds / _EPOCHS,
        *rows,
        *per_epoch,
        epochs,
        test_accuracy,
        _explanation(report, feature_bytes, seconds / _EPOCHS, rows, per_epoch),
    )


def training_text(report: GraphDemoReport) -> list[RenderableType]:
    """Return the report for people."""
    if report.epochs is None:
        return [*report.explanation]
    table = Table(box=None)
    for heading in ("epoch", "loss", "train accuracy", "seconds", "waited for minibatches"):
        table.add_column(heading, justify="right")
    for one in report.epochs:
        columns = f"{one.loss:.4f}", f"{one.accuracy:.4f}", f"{one.seconds:.2f}", f"{one.load_seconds:.2f} s"
        table.add_row(str(one.epoch), *columns)
    tested = [] if report.test_accuracy is None else [f"test accuracy {report.test_accuracy:.4f}"]
    return [f"GraphSAGE on {report.description}", table, *tested, "", *report.explanation]


def _real() -> GraphInput:
    description = "63,666 Debian packages, their dependencies, 384 float16 features each; 51 sections to tell apart"
    return GraphInput(_REAL, _REAL / "sym_indptr.npy", description)


def _generated(run: Run, nodes: int) -> GraphInput:
    folder = run.path / f"graph-{nodes}"
    if not (folder / "graph.json").exists():  # it is written last
        with run.output.progress("generating a graph", total=nodes) as bar:
            make_graph(
                folder,
                GraphShape(nodes, 15, 128, 16),
                Split(train=0.1),
                step=lambda what, done, total: bar.update(done, total, f"generating {what}"),
            )
    return GraphInput(folder, folder, f"{nodes:,} generated nodes, 15 edges and 128 float32 features each")


def _import(run: Run, database: Database, given: GraphInput) -> int:
    """Import what an earlier demo has not; returns the bytes of the features."""
    if GRAPH not in database.graph_names():
        wait(run, database.import_graph(GRAPH, open_graph(given.graph)))
    if GRAPH not in database.feature_names():
        wait(run, database.import_features(GRAPH, open_rows(given.folder / "features.npy")))
    with database.features(GRAPH) as table:
        return table.num_rows * table.row_bytes


def _load(loader: Any) -> tuple[float, LoaderStatistics]:
    """Load all epochs for nobody; returns the seconds they took, and what was counted."""
    began = time.perf_counter()
    with loader:
        for _ in range(_EPOCHS):
            for _minibatch in loader:
                pass
        return time.perf_counter() - began, loader.statistics()


def _train(run: Run, database: Database, loader: Any, task: Task) -> tuple[list[Any] | None, float | None]:
    try:
        training = training_module()
    except InvalidArgument as error:
        run.output.note(f"not trained: {error}")
        return None, None
    with (
        loader,
        database.graph(GRAPH) as graph,
        database.features(GRAPH) as table,
        run.output.progress("training", total=_EPOCHS) as bar,
    ):
        model, reports = training.fit(
            loader,
            task.labels,
            training.TrainOptions(epochs=_EPOCHS),
            in_dim=int(np.prod(table.row_shape)),
            num_layers=len(_FANOUTS),
            on_epoch=lambda report: bar.update(report.epoch + 1),
        )
        if task.test is None:
            return reports, None
        batches = SeedBatches(NodeSeeds(task.test), 2 * _BATCH_SIZE, shuffle=False)
        tested = FetchLoader(NeighborSampler(graph, _FANOUTS), batches, {GRAPH: table})
        return reports, training.evaluate(model, tested, task.labels)


def _explanation(
    report: PlanReport, feature_bytes: int, seconds: float, rows: tuple[int, int], device: tuple[int, int]
) -> list[str]:
    cached, read = rows
    num_bytes, num_reads = device
    kilobytes = num_bytes / 1e3 / max(1, num_reads)
    return [
        f"Features of {format_bytes(feature_bytes)}, {format_bytes(report.cache_bytes)} of memory for rows: an epoch "
        f"of {report.num_minibatches // report.num_epochs} minibatches wants {cached + read:,} rows; {cached:,} were "
        f"still in memory, as many as any policy could keep there, since all minibatches were sampled beforehand.",
        f"The other {read:,} lie on SSD in the order of use: {num_reads:,} reads of {kilobytes:.0f} KB on average "
        f"instead of {read:,} small ones, {num_bytes / 1e6:.0f} MB in {seconds:.2f} s an epoch when nobody computes.",
        f"The plan took {report.cost.sample_seconds + report.cost.schedule_seconds + report.cost.pack_seconds:.1f} s "
        f"to sample, schedule and pack, and {format_bytes(report.disk_bytes)} of disk for {report.num_epochs} epochs.",
    ]
