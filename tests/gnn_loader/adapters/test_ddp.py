"""Two processes train one model by DistributedDataParallel, each on its shard of a plan, without a word about it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from tests.gnn_loader.adapters.graphs import communities
from torch.nn.parallel import DistributedDataParallel

import outcrop
from outcrop.gnn_loader.adapters.torch import MinibatchDataset
from outcrop.gnn_loader.adapters.train import GraphSage
from outcrop.types import NODE_TO_NODE

WORLD_SIZE = 2


def test_ranks_find_their_shards_and_end_with_one_model(tmp_path: Path) -> None:
    graph, x, labels = communities(0, 600)
    csc = graph.csc(NODE_TO_NODE)
    with outcrop.connect(tmp_path / "root") as database:
        database.import_graph("g", (csc.indptr, csc.indices)).wait()
        database.import_features("x", x).wait()
        options: dict[str, Any] = {"fanouts": [4, 4], "batch_size": 50, "epochs": 2, "num_shards": WORLD_SIZE}
        database.create_plan("p", graph="g", features="x", seeds=np.arange(600), cache_memory=4000, **options).wait()

    torch.multiprocessing.spawn(rank_main, (tmp_path, torch.from_numpy(labels)), nprocs=WORLD_SIZE)

    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]
    assert sorted(found[0]["batches"] + found[1]["batches"]) == [(e, b) for e in range(2) for b in range(12)]
    assert set(found[0]["batches"]).isdisjoint(found[1]["batches"])
    assert torch.equal(found[0]["weights"], found[1]["weights"])


def rank_main(rank: int, folder: Path, labels: torch.Tensor) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=WORLD_SIZE)
    torch.manual_seed(0)
    model = DistributedDataParallel(GraphSage(4, 8, 2, num_layers=2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = []
    with outcrop.connect(folder / "root", read_only=True) as database, database.plan("p") as plan:
        dataset = MinibatchDataset([plan.loader(shard=shard) for shard in range(plan.num_shards)])
        for _ in range(2):
            for minibatch in dataset:
                batches.append((minibatch.epoch, minibatch.batch))
                scores = model(minibatch.features["x"], minibatch)
                loss = torch.nn.functional.cross_entropy(scores, labels[minibatch.seeds])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.save({"batches": batches, "weights": weights}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
