"""What trains on a server's minibatches learns the same, number by number, as beside the files."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.client.graphs import DRAWN
from tests.client.graphs import database as database
from tests.client.graphs import embedded as embedded
from tests.client.graphs import served as served
from tests.gnn_loader.adapters.graphs import communities
from tests.server.graph_root import FANOUTS, NUM_NODES

from outcrop.client import Database
from outcrop.embedded import Database as Embedded
from outcrop.gnn_loader.adapters.rows import fetch_tensor
from outcrop.gnn_loader.adapters.torch import MinibatchDataset
from outcrop.gnn_loader.adapters.train import TrainOptions, fit
from outcrop.types import Int64Array, OnlineOptions


@pytest.fixture(scope="module")
def labels() -> Int64Array:
    _, _, labels = communities(5, NUM_NODES)
    return labels


def planned(database: Any) -> Any:
    with database.plan("p") as plan:
        return plan.loader()


def online(database: Any) -> Any:
    return database.online_loader(**DRAWN, options=OnlineOptions("4MiB", window=3, num_sampled=2))


def fresh(database: Any) -> Any:
    name = f"train-{type(database).__module__}"
    return database.fresh_loader(name, **DRAWN, epochs=3, cache_memory="20KiB", pack_memory="16MiB")


def losses(loader: Any, labels: Int64Array, in_dim: int) -> list[float]:
    options = TrainOptions(epochs=3, hidden_dim=16, seed=11)
    with loader:
        _, reports = fit(loader, labels, options, in_dim=in_dim, num_layers=len(FANOUTS))
    return [report.loss for report in reports]


@pytest.mark.parametrize("make", [planned, online, fresh])
def test_losses_are_equal_to_the_last_bit(
    database: Database, embedded: Embedded, labels: Int64Array, make: Callable[[Any], Any]
) -> None:
    with database.features("x") as table:
        [in_dim] = table.row_shape

    found = losses(make(database), labels, in_dim)

    assert found == losses(make(embedded), labels, in_dim)
    assert found[-1] < found[0]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("method", [pytest.param("fork", marks=pytest.mark.forks), "spawn"])
def test_workers_of_a_dataloader_have_streams_of_their_own(database: Database, num_workers: int, method: str) -> None:
    with database.plan("q") as plan:
        shards = range(2 if num_workers else 1)
        dataset = MinibatchDataset([plan.loader(shard=shard) for shard in shards])
    context = {"multiprocessing_context": method} if num_workers else {}
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=num_workers, **context)

    for epoch in range(2):
        seen = [(minibatch.epoch, minibatch.batch) for minibatch in batches]
        assert sorted(seen) == [(epoch, batch) for batch in range(0, 5, 1 if num_workers else 2)]


def test_a_served_table_is_a_table_for_adapters(database: Database) -> None:
    with database.features("x") as table:
        rows = fetch_tensor(table, torch.tensor([5, 1]))

    np.testing.assert_array_equal(rows.numpy(), table_rows(database, [5, 1]))


def table_rows(database: Database, ids: list[int]) -> Any:
    with database.features("x") as table:
        return table.fetch(ids)
