"""The loaders that `outcrop train` can train from."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from outcrop.embedded import Database
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import FeatureTable, Graph, OnlineOptions
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import Int64Array, NodeSeeds


@dataclass(frozen=True, slots=True)
class Source:
    """What minibatches are made of. table: the name of the features."""

    database: Database
    graph: Graph
    graph_name: str
    features: FeatureTable
    table: str
    train: Int64Array


@dataclass(frozen=True, slots=True)
class Choice:
    """How they are made. plan: the one to load, for the mode of that name; its fan-outs, batch size and seed are then
    the plan's. cache_memory: for rows in memory, of the modes that keep some."""

    mode: str
    plan: str | None
    fanouts: list[int]
    batch_size: int
    epochs: int
    cache_memory: str
    seed: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"--mode: expected one of {', '.join(MODES)}; found {self.mode!r}")
        if (self.mode == "plan") != (self.plan is not None):
            raise InvalidArgument("--mode plan and --plan NAME go together; `outcrop plan create` makes a plan")

    def sampler(self, graph: Graph) -> NeighborSampler:
        """Return the sampler that was asked for."""
        return NeighborSampler(graph, self.fanouts, seed=self.seed)

    def batches(self, train: Int64Array) -> SeedBatches:
        """Return the order of the train nodes."""
        return SeedBatches(NodeSeeds(train), self.batch_size, self.seed)


@contextmanager
def opened_loader(source: Source, choice: Choice) -> Iterator[Any]:
    """Yield the loader of a choice: each pass over it is an epoch."""
    with MODES[choice.mode](source, choice) as loader:
        yield loader


@contextmanager
def _fetch(source: Source, choice: Choice) -> Iterator[Any]:
    tables = {source.table: source.features}
    yield FetchLoader(choice.sampler(source.graph), choice.batches(source.train), tables)


def _online(source: Source, choice: Choice) -> AbstractContextManager[Any]:
    return source.database.online_loader(
        graph=source.graph_name,
        features=source.table,
        seeds=source.train,
        fanouts=choice.fanouts,
        options=OnlineOptions(cache_memory=choice.cache_memory),
        batch_size=choice.batch_size,
        seed=choice.seed,
    )


@contextmanager
def _plan(source: Source, choice: Choice) -> Iterator[Any]:
    assert choice.plan is not None, "checked by Choice"
    with source.database.plan(choice.plan) as plan:
        plan.check_current()
        made_from = plan.properties.fingerprint
        tables = [table["name"] for table in made_from["tables"].values()]
        if made_from["graph"]["name"] != source.graph_name or tables != [source.table]:
            raise InvalidArgument(
                f"plan {choice.plan!r}: made from graph {made_from['graph']['name']!r} and features {tables}, found "
                f"{source.graph_name!r} and {source.table!r}"
            )
        with plan.loader() as loader:
            yield loader


def _fresh(source: Source, choice: Choice) -> AbstractContextManager[Any]:
    return source.database.fresh_loader(
        f"train-{source.graph_name}-{source.table}",
        graph=source.graph_name,
        features=source.table,
        seeds=source.train,
        fanouts=choice.fanouts,
        batch_size=choice.batch_size,
        epochs=choice.epochs,
        seed=choice.seed,
        cache_memory=choice.cache_memory,
    )


def as_planned(choice: Choice, database: Database) -> Choice:
    """Return the choice with what its plan says of fan-outs, batch size and seed."""
    if choice.plan is None:
        return choice
    with database.plan(choice.plan) as plan:
        made_from = plan.properties.fingerprint
    fanouts = [hop[0] for hop in made_from["sampler"]["fanouts"]]  # a graph of one edge type
    return replace(choice, fanouts=fanouts, batch_size=made_from["batch_size"], seed=made_from["sampler"]["seed"])


MODES: dict[str, Callable[[Source, Choice], AbstractContextManager[Any]]] = {
    "online": _online,
    "fresh": _fresh,
    "plan": _plan,
    "fetch": _fetch,
}


def counters(loader: Any, features: FeatureTable) -> dict[str, Any]:
    """Return what the loader counted or, where it counts nothing, the table."""
    counted = loader if hasattr(loader, "statistics") else features
    return asdict(counted.statistics())
