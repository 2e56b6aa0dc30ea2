"""An epoch with a small GraphSAGE behind it: three layers of 32 hidden units, mean aggregation, Adam, on the processor.

Ours is the model of `outcrop train`; DGL's is its own SAGEConv over its own blocks, with all features in memory.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import dgl
import numpy as np
import torch
from ours import Planned
from peers import DglInMemory
from torch.nn import functional
from workload import Workload

from outcrop.gnn_loader.adapters.train import GraphSage, train_epoch

_HIDDEN = 32


def train_planned(workload: Workload, epochs: int) -> list[dict[str, float]]:
    """Return seconds of each epoch, those in which the model waited, and the loss."""
    labels, classes, dim = _task(workload)
    system = Planned(workload)
    system.open_rows()
    torch.manual_seed(0)
    model = GraphSage(dim, _HIDDEN, classes, len(workload.fanouts), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    found = []
    for epoch in range(epochs):
        report = train_epoch(model, optimizer, system.loader, labels, epoch=epoch)
        found.append({"seconds": report.seconds, "waited_seconds": report.load_seconds, "loss": report.loss})
    system.close()
    return found


def train_dgl(workload: Workload, epochs: int) -> list[dict[str, float]]:
    """As `train_planned`; waiting is sampling and gathering, which DGL does in the same thread."""
    labels, classes, dim = _task(workload)
    system = DglInMemory(workload)
    system.open_graph()
    system.open_rows()
    torch.manual_seed(0)
    dims = [dim, *[_HIDDEN] * (len(workload.fanouts) - 1), classes]
    model = torch.nn.ModuleList(dgl.nn.SAGEConv(a, b, "mean") for a, b in itertools.pairwise(dims))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    return [_dgl_epoch(system, model, optimizer, torch.from_numpy(labels), epoch) for epoch in range(epochs)]


def _dgl_epoch(
    system: DglInMemory, model: Any, optimizer: torch.optim.Optimizer, labels: torch.Tensor, epoch: int
) -> dict[str, float]:
    began = time.perf_counter()
    waited = loss_sum = 0.0
    batches = system.batches(epoch)
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        x = None if batch is None else system.rows(batch[0])
        waited += time.perf_counter() - asked
        if batch is None:
            break
        _, seeds, blocks = batch
        for number, (layer, block) in enumerate(zip(model, blocks, strict=True)):
            x = layer(block, x)
            x = functional.relu(x) if number < len(blocks) - 1 else x
        loss = functional.cross_entropy(x, labels[seeds])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += float(loss.detach()) * len(seeds)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "waited_seconds": waited, "loss": loss_sum / system.num_seeds}


def _task(workload: Workload) -> tuple[Any, int, int]:
    labels = np.load(workload.folder / "labels.npy")
    return labels, int(labels.max()) + 1, np.load(workload.folder / "features.npy", mmap_mode="r").shape[1]


TRAINERS = {"outcrop planned": train_planned, "DGL in memory": train_dgl}
