"""The loaders that `outcrop train` can train from."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from outcrop.embedded import Database
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import FeatureTable, Graph
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.online import OnlineLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import NodeSeeds, SeedBatches
from outcrop.types import Int64Array


@dataclass(frozen=True, slots=True)
class Source:
    """What minibatches are made of. table: the name of the features."""

    database: Database
    graph: Graph
    features: FeatureTable
    table: str
    train: Int64Array


@dataclass(frozen=True, slots=True)
class Choice:
    """How they are made. cache_memory: for rows in memory, of the modes that keep some."""

    mode: str
    plan: str | None
    fanouts: list[int]
    batch_size: int
    cache_memory: str
    seed: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"--mode: expected one of {', '.join(MODES)}; found {self.mode!r}")

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
    sampler, batches = choice.sampler(source.graph), choice.batches(source.train)
    return OnlineLoader(sampler, batches, {source.table: source.features}, cache_memory=choice.cache_memory)


MODES: dict[str, Callable[[Source, Choice], AbstractContextManager[Any]]] = {"fetch": _fetch, "online": _online}


def counters(loader: Any, features: FeatureTable) -> dict[str, Any]:
    """Return what the loader counted or, where it counts nothing, the table."""
    counted = loader if hasattr(loader, "statistics") else features
    return asdict(counted.statistics())
