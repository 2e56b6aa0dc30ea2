"""Which rows minibatches ask for: a generated graph, sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.datasets.graph_law import GraphLaw, GraphShape
from outcrop.gnn_loader import ArrayGraph, NeighborSampler, NodeSeeds, SeedBatches, scores
from outcrop.types import NODE, NODE_TO_NODE

Keys = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Trace:
    """The requests of some epochs, one behind the other, and scores made before any of them.

    requests: the rows of each minibatch. scores: by name, uint16 [num_rows]; frequency counts an epoch that is not in
    the trace.
    """

    num_rows: int
    requests: list[Keys]
    scores: dict[str, npt.NDArray[np.uint16]]
    per_epoch: int

    @property
    def accesses(self) -> int:
        return sum(map(len, self.requests))


def make_trace(workload: dict[str, Any], threads: int) -> Trace:
    law = GraphLaw(GraphShape(workload["num_nodes"], workload["degree"], seed=workload["seed"]))
    num_rows = law.shape.num_nodes
    indptr, indices = _csc(law)
    seeds = law.split(int(workload["train_share"] * num_rows))[0]
    batches = SeedBatches(NodeSeeds(seeds), workload["batch_size"], seed=workload["seed"])
    sampler = NeighborSampler(ArrayGraph.homogeneous(indptr, indices), workload["fanouts"], seed=workload["seed"])

    def sampled(epoch: int) -> list[Keys]:
        # A copy, since a view keeps the whole minibatch.
        return [m.nodes[NODE].copy() for m in sampler.sample_many(batches, epoch=epoch, threads=threads)]

    edges = {NODE_TO_NODE: (indptr, indices)}
    found = {
        "frequency": scores.access_counts(sampled(workload["epochs"]), num_rows),
        "out_degree": scores.degrees(indptr, indices, num_rows)[1],
        "pagerank": scores.reverse_pagerank(edges, {NODE: num_rows}, seeds={NODE: seeds})[NODE],
    }
    requests = [keys for epoch in range(workload["epochs"]) for keys in sampled(epoch)]
    return Trace(num_rows, requests, {name: scores.ranked(score) for name, score in found.items()}, len(batches))


def _csc(law: GraphLaw) -> tuple[npt.NDArray[np.int64], Keys]:
    degrees, sources = [], []
    for chunk in range(law.num_chunks):
        some_degrees, some_sources = law.columns(chunk)
        degrees.append(some_degrees)
        sources.append(some_sources.astype(np.uint32))
    return np.concatenate(([0], np.cumsum(np.concatenate(degrees)))), np.concatenate(sources)
