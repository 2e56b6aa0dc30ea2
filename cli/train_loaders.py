"""The loaders that `outcrop train` can train from, of a folder or a server alike."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import SeedBatches
from outcrop.types import NODE, Int64Array, Minibatch, NodeSeeds, OnlineOptions

if TYPE_CHECKING:
    from outcrop.cli.place import Database, FeatureTable, Graph


@dataclass(frozen=True, slots=True)
class Source:
    """What minibatches are made of. table: the name of the features."""

    database: "Database"
    graph: "Graph"
    graph_name: str
    features: "FeatureTable"
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


class CallingLoader:
    """The plainest loader: a call draws a minibatch, another fetches its rows. Nothing is ahead of its use. An
    iteration is an epoch."""

    def __init__(
        self, source: Source, choice: Choice, seeds: Int64Array, batch_size: int, shuffle: bool = True
    ) -> None:
        """seeds: int64 [n], of which minibatches of `batch_size` are made; not shuffled, their order is the same in
        every epoch."""
        self._source, self._choice, self._seeds = source, choice, seeds
        self._batches = SeedBatches(NodeSeeds(seeds), batch_size, choice.seed, shuffle)
        self._epoch = 0

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield the minibatches of the next epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        for batch, places in enumerate(self._batches.epoch(epoch)):
            yield self._minibatch(self._seeds[places], epoch, batch)

    def _minibatch(self, seeds: Int64Array, epoch: int, batch: int) -> Minibatch:
        source, choice = self._source, self._choice
        drawn = source.graph.sample(seeds, choice.fanouts, epoch=epoch, batch=batch, seed=choice.seed)
        return replace(drawn, features={source.table: source.features.fetch(drawn.nodes[NODE])})


@contextmanager
def opened_loader(source: Source, choice: Choice) -> Iterator[Any]:
    """Yield the loader of a choice: each pass over it is an epoch."""
    with MODES[choice.mode](source, choice) as loader:
        yield loader


@contextmanager
def _fetch(source: Source, choice: Choice) -> Iterator[Any]:
    yield CallingLoader(source, choice, source.train, choice.batch_size)


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
        made_from: Any = plan.explain().made_from
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


def as_planned(choice: Choice, database: "Database") -> Choice:
    """Return the choice with what its plan says of fan-outs, batch size and seed."""
    if choice.plan is None:
        return choice
    with database.plan(choice.plan) as plan:
        made_from: Any = plan.explain().made_from
    fanouts = [hop[0] for hop in made_from["sampler"]["fanouts"]]  # a graph of one edge type
    return replace(choice, fanouts=fanouts, batch_size=made_from["batch_size"], seed=made_from["sampler"]["seed"])


MODES: dict[str, Callable[[Source, Choice], AbstractContextManager[Any]]] = {
    "online": _online,
    "fresh": _fresh,
    "plan": _plan,
    "fetch": _fetch,
}


def counters(loader: Any, features: "FeatureTable") -> dict[str, Any]:
    """Return what the loader counted or, where it counts nothing, the table; nothing where the table is a server's."""
    counted = [each.statistics() for each in (loader, features) if hasattr(each, "statistics")]
    return asdict(counted[0]) if counted else {}
