"""Planned and online loaders behind PyTorch, PyG and DGL: rows as they were stored, whichever way they come."""

import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import random_graph
from torch.utils.data import DataLoader

import outcrop
from outcrop.errors import ResourceExhausted
from outcrop.gnn_loader import NeighborSampler, NodeSeeds, SeedBatches
from outcrop.gnn_loader.adapters import pyg
from outcrop.gnn_loader.adapters.device_slab import DeviceLoader
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorMinibatch
from outcrop.gnn_loader.adapters.torch import MinibatchDataset
from outcrop.gnn_loader.online import OnlineLoader

NUM_BATCHES = 13


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A graph and rows of 37 floats, with plans of two epochs: of one shard, of two, and with nodes expanded once."""
    x = np.random.default_rng(0).normal(size=(200, 37)).astype(np.float32)
    arrays = random_graph(0).csc(("node", "to", "node"))
    common: dict[str, Any] = {"graph": "g", "features": "x", "seeds": np.arange(200), "batch_size": 16, "epochs": 2}
    common |= {"fanouts": [3, 3], "cache_memory": 30 * 37 * 4, "seed": 5}
    with outcrop.connect(tmp_path_factory.mktemp("loaders") / "root") as database:
        database.import_graph("g", (arrays.indptr, arrays.indices)).wait()
        database.import_features("x", x).wait()
        database.create_plan("one", **common).wait()
        database.create_plan("two", num_shards=2, **common).wait()
        database.create_plan("once", expand="newcomers", keep_edges=True, **common).wait()
        with database.graph("g") as graph:
            yield SimpleNamespace(database=database, graph=graph, x=x)


def check(batch: TensorMinibatch, x: Any) -> tuple[int, int]:
    rows = batch.features["x"]
    assert rows.cpu().numpy().tobytes() == x[batch.nodes["node"].cpu().numpy()].tobytes()
    return batch.epoch, batch.batch


def epoch(number: int) -> list[tuple[int, int]]:
    return [(number, batch) for batch in range(NUM_BATCHES)]


def test_a_plan_is_a_pytorch_dataset(stored: SimpleNamespace) -> None:
    with stored.database.plan("one") as plan, plan.loader() as loader:
        batches = DataLoader(MinibatchDataset(loader), batch_size=None)

        passes = [[check(batch, stored.x) for batch in batches] for _ in range(3)]

    assert passes == [epoch(0), epoch(1), epoch(0)]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_shards_of_a_plan_go_to_workers(stored: SimpleNamespace, persistent: bool, context: str) -> None:
    with stored.database.plan("two") as plan:
        dataset = MinibatchDataset([plan.loader(shard=shard) for shard in range(plan.num_shards)])
        workers: dict[str, Any] = {
            "num_workers": 2,
            "persistent_workers": persistent,
            "multiprocessing_context": context,
        }
        batches = DataLoader(dataset, batch_size=None, **workers)

        passes = [sorted(check(batch, stored.x) for batch in batches) for _ in range(2)]

    assert passes == [epoch(0), epoch(1)]


def test_ranks_share_an_epoch(stored: SimpleNamespace) -> None:
    with stored.database.plan("two") as plan:
        found = []
        for rank in range(2):
            loaders = [plan.loader(shard=shard) for shard in range(2)]
            found += [check(batch, stored.x) for batch in MinibatchDataset(loaders, rank=rank, world_size=2)]
            loaders[rank].close()

    assert sorted(found) == epoch(0)


def test_a_plan_resumes_in_the_middle_of_an_epoch(stored: SimpleNamespace) -> None:
    with stored.database.plan("one") as plan, plan.loader() as loader, plan.loader() as other:
        dataset, resumed = MinibatchDataset(loader), MinibatchDataset(other)
        iterator = iter(dataset)
        for _ in range(5):
            check(next(iterator), stored.x)

        resumed.load_state_dict(dataset.state_dict())

        rest = [check(batch, stored.x) for batch in resumed]
        assert rest == epoch(0)[5:]
        assert [check(batch, stored.x) for batch in resumed] == epoch(1)


def test_a_kept_minibatch_holds_its_slot_until_it_goes(stored: SimpleNamespace) -> None:
    with stored.database.plan("one") as plan, plan.loader(slots=2) as loader:
        iterator = iter(MinibatchDataset(loader))
        kept = [next(iterator), next(iterator)]
        with pytest.raises(ResourceExhausted):
            next(iterator)
        copies = [batch.clone() for batch in kept]
        kept.clear()
        gc.collect()

        rest = [check(batch, stored.x) for batch in MinibatchDataset(loader)]

    assert [check(batch, stored.x) for batch in copies] == epoch(0)[:2]
    assert rest == epoch(0)[2:]


def test_an_online_loader_is_a_pytorch_dataset(stored: SimpleNamespace) -> None:
    batches = SeedBatches(NodeSeeds(np.arange(200)), 16, seed=5)
    sampler = NeighborSampler(stored.graph, [3, 3], seed=5)
    with (
        stored.database.features("x") as table,
        OnlineLoader(sampler, batches, {"x": table}, cache_memory="1MiB") as loader,
    ):
        dataset = MinibatchDataset(loader)

        assert [check(batch, stored.x) for batch in dataset] == epoch(0)
        assert [check(batch, stored.x) for batch in dataset] == epoch(1)


def test_a_plan_becomes_pyg_data(stored: SimpleNamespace) -> None:
    with stored.database.plan("once") as plan, plan.loader() as loader:
        batches = 0
        for data in pyg.DataLoader(loader, stored.graph, {"y": torch.arange(200)}):
            assert data.x.numpy().tobytes() == stored.x[data.n_id].tobytes()
            assert torch.equal(data.y, data.n_id)
            assert data.validate()
            batches += 1
            del data

    assert batches == NUM_BATCHES


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="DGL's wheels end with Python 3.11")
@pytest.mark.parametrize("name", ["one", "once"])
def test_a_plan_becomes_dgl_blocks(stored: SimpleNamespace, name: str) -> None:
    from outcrop.gnn_loader.adapters.dgl import BlockLoader

    with stored.database.plan(name) as plan, plan.loader() as loader:
        batches = 0
        for inputs, outputs, blocks in BlockLoader(loader, stored.graph, {"y": torch.arange(200)}):
            assert blocks[0].srcdata["x"].numpy().tobytes() == stored.x[inputs].tobytes()
            assert torch.equal(blocks[-1].dstdata["y"], outputs)
            assert blocks[0].num_src_nodes() == len(inputs)
            batches += 1
            del inputs, outputs, blocks

    assert batches == NUM_BATCHES


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_slab_stands_in_front_of_a_plan(stored: SimpleNamespace, device: str) -> None:
    with stored.database.plan("one") as plan, plan.loader(slots=5) as loader:
        on_device = DeviceLoader(loader, device, {"x": 50 * 256}, {"x": 200}, window=3)

        assert [check(batch, stored.x) for batch in on_device] == epoch(0)
        assert [check(batch, stored.x) for batch in on_device] == epoch(1)

    statistics = on_device.statistics()["x"]
    assert statistics.capacity == 50
    assert statistics.hits > 0
