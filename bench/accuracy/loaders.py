"""The loaders that are compared, each a way to get the same kind of minibatches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))  # tests/, which has the sampler in plain NumPy

from tasks import Task
from tests.gnn_loader.adapters.numpy_sampler import NumpySampler

from outcrop.embedded import Database
from outcrop.gnn_loader.fetch_loader import FetchLoader
from outcrop.gnn_loader.online import OnlineLoader
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import NodeSeeds

GRAPH = "graph"


class InMemory:
    """Sampling and gathering in memory by NumPy alone, anew in each epoch: what all others are compared with."""

    def __init__(self, task: Task, options: dict[str, Any], seed: int) -> None:
        self._sampler = NumpySampler(task.indptr, task.indices, task.features, options["fanouts"])
        self._task, self._batch_size, self._random = task, options["batch_size"], np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Any]:
        return self._sampler.epoch(self._task.train, self._batch_size, self._random)


@contextmanager
def opened(mode: str, database: Database, task: Task, table: str, options: dict[str, Any], seed: int) -> Iterator[Any]:
    """Yield the loader of a mode: memory, fetch, replay, fresh or online. table: the stored features to read."""
    if mode == "memory":
        yield InMemory(task, options, seed)
        return
    with MODES[mode](database, task, table, options, seed) as loader:
        yield loader


@contextmanager
def _fetch(database: Database, task: Task, table: str, options: dict[str, Any], seed: int) -> Iterator[Any]:
    with database.graph(GRAPH) as graph, database.features(table) as rows:
        yield FetchLoader(_sampler(graph, options, seed), _batches(task, options, seed), {table: rows})


@contextmanager
def _online(database: Database, task: Task, table: str, options: dict[str, Any], seed: int) -> Iterator[Any]:
    with database.graph(GRAPH) as graph, database.features(table) as rows:
        memory = int(rows.num_rows * (rows.row_bytes * options["cache_share"] + 14)) + (1 << 20)
        sampler, batches = _sampler(graph, options, seed), _batches(task, options, seed)
        with OnlineLoader(sampler, batches, {table: rows}, cache_memory=memory) as loader:
            yield loader


@contextmanager
def _replay(database: Database, task: Task, table: str, options: dict[str, Any], seed: int) -> Iterator[Any]:
    with database.features(table) as rows:
        memory = int(rows.num_rows * rows.row_bytes * options["cache_share"])
    database.create_plan(
        "plan",
        graph=GRAPH,
        features=table,
        seeds=task.train,
        fanouts=options["fanouts"],
        batch_size=options["batch_size"],
        epochs=options["replayed_epochs"],
        seed=seed,
        cache_memory=memory,
    ).wait()
    with database.plan("plan") as plan, plan.loader() as loader:
        yield loader


@contextmanager
def _fresh(database: Database, task: Task, table: str, options: dict[str, Any], seed: int) -> Iterator[Any]:
    with database.features(table) as rows:
        memory = int(rows.num_rows * rows.row_bytes * options["cache_share"])
    with database.fresh_loader(
        "fresh",
        graph=GRAPH,
        features=table,
        seeds=task.train,
        fanouts=options["fanouts"],
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        seed=seed,
        cache_memory=memory,
    ) as loader:
        yield loader


def _sampler(graph: Any, options: dict[str, Any], seed: int) -> NeighborSampler:
    return NeighborSampler(graph, options["fanouts"], seed=seed)


def _batches(task: Task, options: dict[str, Any], seed: int) -> SeedBatches:
    return SeedBatches(NodeSeeds(task.train), options["batch_size"], seed)


MODES: dict[str, Callable[..., Any]] = {"fetch": _fetch, "replay": _replay, "fresh": _fresh, "online": _online}
