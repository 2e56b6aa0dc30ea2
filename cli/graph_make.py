"""`outcrop graph make`, also `outcrop dataset make graph`: a generated graph with features, labels and train nodes."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.datasets.graph_generate import GeneratedGraph, Split, make_graph
from outcrop.datasets.graph_law import GraphShape
from outcrop.errors import InvalidArgument
from outcrop.store import format_bytes


def make(
    run: Run,
    folder: Annotated[Path, typer.Argument(help="Where to write the .npy files; made when there is none.")],
    nodes: Annotated[int, typer.Option(help="How many nodes.", min=1)] = 100_000,
    degree: Annotated[int, typer.Option(help="Mean in-degree.", min=0)] = 15,
    dim: Annotated[int, typer.Option(help="Of the features.", min=1)] = 128,
    classes: Annotated[int, typer.Option(help="Of the labels.", min=1)] = 16,
    dtype: Annotated[str, typer.Option(help="Of the features: float32 or float16.")] = "float32",
    train: Annotated[float, typer.Option(help="Share of the nodes to train on.", min=0, max=1)] = 0.1,
    val: Annotated[float, typer.Option(help="Share to validate with.", min=0, max=1)] = 0.05,
    test: Annotated[float, typer.Option(help="Share to test with.", min=0, max=1)] = 0.05,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Generate a power-law graph with communities, and features and labels that a model can learn.

    Written are indptr, indices, features, labels, train_idx, val_idx and test_idx as .npy, and graph.json, streamed:
    graphs may be larger than memory.
    """
    if dtype not in ("float32", "float16"):
        raise InvalidArgument(f"--dtype: expected float32 or float16, found {dtype!r}")
    shape = GraphShape(nodes, degree, dim, classes, seed)
    with run.output.progress("generating", total=nodes) as bar:

        def step(what: str, done: int, total: int) -> None:
            bar.update(done, total, f"generating {what}")

        made = make_graph(folder, shape, Split(train, val, test), dtype, step)
    run.output.result(made, text=_made_text(made))


def _made_text(made: GeneratedGraph) -> Table:
    facts = Table.grid(padding=(0, 2))
    shape, split = made.shape, made.split
    facts.add_row("graph", f"{shape.num_nodes:,} nodes, {made.num_edges:,} edges")
    facts.add_row("features", f"{shape.dim} x {made.dtype} a node")
    facts.add_row("labels", f"{shape.num_classes} classes, {made.homophily:.0%} of edges within one")
    facts.add_row("train, val, test", f"{split.train:g}, {split.val:g}, {split.test:g} of the nodes")
    facts.add_row("files", f"{made.folder}, {format_bytes(made.size_bytes)}")
    return facts
