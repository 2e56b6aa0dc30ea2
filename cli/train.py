"""`outcrop train`: a small GraphSAGE on a stored graph, to see loading and learning work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Group
from rich.table import Table

from outcrop.cli.command import Run
from outcrop.cli.train_loaders import CallingLoader, Choice, Source, as_planned, counters, opened_loader
from outcrop.embedded import Database as Embedded
from outcrop.errors import InvalidArgument, NotFound
from outcrop.types import NODE_TO_NODE, AnyArray, Int64Array

if TYPE_CHECKING:
    from outcrop.cli.place import Database, FeatureTable, Graph

_EVALUATION_BATCH = 2048
_DEFAULT_MEMORY = "1GiB"


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What training came to. epochs: one `EpochReport` each. test_accuracy: None without a test_idx.npy.
    loader: its counters, by name."""

    graph: str
    features: str
    mode: str
    fanouts: list[int]
    batch_size: int
    num_train: int
    num_classes: int
    epochs: list[Any]
    test_accuracy: float | None
    loader: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Labels of all nodes and the nodes to train, validate and test with; None where there is no file of them."""

    labels: Int64Array
    train: Int64Array
    val: Int64Array | None
    test: Int64Array | None


def train(
    run: Run,
    graph: Annotated[str, typer.Argument(help="A stored graph of one node type.")],
    features: Annotated[str, typer.Argument(help="A stored feature table with a row for each node.")],
    task: Annotated[
        Path, typer.Argument(help="A folder with labels.npy, train_idx.npy and, if wanted, val_idx.npy, test_idx.npy.")
    ],
    mode: Annotated[
        str,
        typer.Option(
            help="online: rows are read some minibatches ahead; fresh: an epoch ahead; plan: by --plan; fetch: at once."
        ),
    ] = "online",
    plan: Annotated[str | None, typer.Option(help="A plan of this graph and these features, for --mode plan.")] = None,
    fanouts: Annotated[str, typer.Option(help="Neighbours drawn per hop; -1: all.")] = "10,10",
    batch_size: Annotated[int, typer.Option(help="Seeds in a minibatch.", min=1)] = 1024,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    hidden: Annotated[int, typer.Option(help="Hidden units.", min=1)] = 128,
    dropout: Annotated[float, typer.Option(min=0, max=0.99)] = 0.5,
    learning_rate: Annotated[float, typer.Option(min=1e-9)] = 0.005,
    memory: Annotated[str | None, typer.Option(help="For the graph [default: 1GiB].", metavar="SIZE")] = None,
    cache_memory: Annotated[str, typer.Option(help="For rows of features.", metavar="SIZE")] = "256MiB",
    device: Annotated[str, typer.Option(help="cpu, cuda, ...: where the model is.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a small GraphSAGE, and tell its accuracy and where the time went, epoch by epoch.

    Needs PyTorch: pip install 'outcrop[torch]'.
    """
    run.only_embedded(memory=memory)
    training = training_module()
    chosen = training.TrainOptions(epochs, hidden, dropout, learning_rate, 0.0, seed, device)
    choice = Choice(mode, plan, _fanouts(fanouts), batch_size, epochs, cache_memory, seed)
    given = read_task(task)
    read_only = mode != "fresh"  # which writes the plan of the next epoch
    with (
        run.connect(read_only=read_only, create=False) as database,
        _opened(database, graph, features, memory) as stored,
    ):
        opened_graph, table = stored
        _check(opened_graph, table, given, graph, features)
        choice = as_planned(choice, database)
        source = Source(database, opened_graph, graph, table, features, given.train)

        def accuracy(model: Any, ids: Int64Array) -> float:
            loader = CallingLoader(source, choice, ids, _EVALUATION_BATCH, shuffle=False)
            found: float = training.evaluate(model, loader, given.labels, device=device)
            return found

        val, test = given.val, given.test
        with (
            opened_loader(source, choice) as loader,
            run.output.progress("training", total=epochs) as bar,
        ):
            model, reports = training.fit(
                loader,
                given.labels,
                chosen,
                in_dim=int(np.prod(table.row_shape)),
                num_layers=len(choice.fanouts),
                validate=None if val is None else lambda model: accuracy(model, val),
                on_epoch=lambda report: bar.update(report.epoch + 1, description=_line(report)),
            )
            counted = counters(loader, table)
        report = TrainReport(
            graph=graph,
            features=features,
            mode=mode,
            fanouts=choice.fanouts,
            batch_size=choice.batch_size,
            num_train=len(given.train),
            num_classes=int(given.labels.max()) + 1,
            epochs=reports,
            test_accuracy=None if test is None else accuracy(model, test),
            loader=counted,
        )
    run.output.result(report, text=_text(report))


def training_module() -> Any:
    """Return the module that needs torch, which nothing else of the command line does. Raises InvalidArgument."""
    try:
        from outcrop.gnn_loader.adapters import train as training
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InvalidArgument("train needs PyTorch: pip install 'outcrop[torch]'") from error
    return training


def read_task(folder: Path) -> Task:
    """Read labels.npy and the nodes of a folder, as `outcrop graph make` writes it.

    Raises NotFound where labels.npy or train_idx.npy is missing, InvalidArgument where one does not fit.
    """
    labels, train = _integers(folder / "labels.npy"), _integers(folder / "train_idx.npy")
    if labels is None or train is None:
        missing = "labels.npy" if labels is None else "train_idx.npy"
        raise NotFound(f"{folder}: expected labels.npy and train_idx.npy, found no {missing}")
    task = Task(labels, train, _integers(folder / "val_idx.npy"), _integers(folder / "test_idx.npy"))
    if not len(task.train):
        raise InvalidArgument(f"{folder / 'train_idx.npy'}: expected at least one node")
    for name, ids in (("train", task.train), ("val", task.val), ("test", task.test)):
        if ids is not None and len(ids) and (ids.min() < 0 or ids.max() >= len(labels)):
            raise InvalidArgument(
                f"{folder / f'{name}_idx.npy'}: expected nodes from 0 to {len(labels) - 1}, as labels.npy has them, "
                f"found {ids.min()} to {ids.max()}"
            )
        if ids is not None and len(ids) and labels[ids].min() < 0:
            raise InvalidArgument(f"{folder / 'labels.npy'}: expected classes from 0 for nodes of {name}_idx.npy")
    return task


def _integers(path: Path) -> Int64Array | None:
    if not path.exists():
        return None
    try:
        array: AnyArray = np.load(path)
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument(f"{path}: expected integers [n], found {array.dtype} {list(array.shape)}")
    return array.astype(np.int64)


def _fanouts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidArgument(f"--fanouts: expected whole numbers such as 10,10, found {text!r}") from error


@contextmanager
def _opened(
    database: "Database", graph: str, features: str, memory: str | None
) -> Iterator[tuple["Graph", "FeatureTable"]]:
    given = {"memory": memory or _DEFAULT_MEMORY} if isinstance(database, Embedded) else {}
    with database.graph(graph, **given) as opened, database.features(features, **given) as table:
        yield opened, table


def _check(graph: "Graph", table: "FeatureTable", task: Task, graph_name: str, table_name: str) -> None:
    if list(graph.edge_types) != [NODE_TO_NODE]:
        raise InvalidArgument(
            f"{graph_name}: expected a graph of one node type and one edge type, found {graph.edge_types}"
        )
    [num_nodes] = graph.node_types.values()
    if table.num_rows != num_nodes:
        raise InvalidArgument(
            f"{table_name}: expected a row for each of {num_nodes} nodes, found {table.num_rows} rows"
        )
    if len(task.labels) != num_nodes:
        raise InvalidArgument(f"labels.npy: expected one for each of {num_nodes} nodes, found {len(task.labels)}")


def _line(report: Any) -> str:
    val = "" if report.val_accuracy is None else f", validated {report.val_accuracy:.4f}"
    return f"epoch {report.epoch}: loss {report.loss:.4f}, accuracy {report.accuracy:.4f}{val}"


def _text(report: TrainReport) -> Group:
    table = Table(box=None)
    for heading in ("epoch", "loss", "train accuracy", "val accuracy", "seconds", "waited for minibatches"):
        table.add_column(heading, justify="right")
    for one in report.epochs:
        val = "" if one.val_accuracy is None else f"{one.val_accuracy:.4f}"
        columns = f"{one.loss:.4f}", f"{one.accuracy:.4f}", val, f"{one.seconds:.2f}", f"{one.load_seconds:.2f} s"
        table.add_row(str(one.epoch), *columns)
    batches = report.epochs[0].num_batches
    head = (
        f"{report.graph} with {report.features}: {report.num_train:,} nodes to train on, {report.num_classes} classes, "
        f"{batches} minibatches an epoch of {report.batch_size:,} seeds, fan-outs {report.fanouts}, mode {report.mode}"
    )
    tail = [] if report.test_accuracy is None else ["", f"test accuracy {report.test_accuracy:.4f}"]
    return Group(head, "", table, *tail)
