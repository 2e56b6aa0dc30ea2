"""A small GraphSAGE, and its training from any loader of minibatches."""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer, TensorMinibatch, tensor_minibatch
from outcrop.types import NODE, NODE_TO_NODE, Int64Array

Labels = torch.Tensor | Int64Array


class GraphSage(nn.Module):
    """GraphSAGE with mean aggregation (Hamilton, Ying, Leskovec: Inductive Representation Learning on Large Graphs)
    for graphs of one node type and one edge type. A layer maps x to W1 x + W2 mean(x of the neighbours drawn).
    """

    def __init__(self, in_dim: int, hidden_dim: int, num_classes: int, num_layers: int, dropout: float = 0.5) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (num_layers - 1), num_classes]
        pairs = list(itertools.pairwise(dims))
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.neighbours = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, minibatch: TensorMinibatch) -> torch.Tensor:
        """Return the scores of the seeds, float32 [num_seeds, num_classes].

        x: features of all nodes of the minibatch, [num_nodes, in_dim]. The minibatch has as many hops as the model has
        layers.
        """
        offsets = minibatch.hop_offsets[NODE]
        num_layers = len(self.own)
        if minibatch.num_hops != num_layers:
            raise InvalidArgument(f"expected a minibatch of {num_layers} hops, found {minibatch.num_hops}")
        for depth, (own, neighbours) in enumerate(zip(self.own, self.neighbours, strict=True)):
            hop = num_layers - 1 - depth
            num_rows = offsets[hop + 1]
            edges = minibatch.edges_before(hop, NODE_TO_NODE)
            x = own(x[:num_rows]) + neighbours(mean_of_neighbours(x, edges))
            if hop > 0:
                x = self.dropout(functional.relu(x))
        scores: torch.Tensor = x[minibatch.seed_rows]
        return scores


def mean_of_neighbours(x: torch.Tensor, edges: TensorLayer) -> torch.Tensor:
    """Return the mean of x over the sources of each column, [num_columns, dim]; zeros where a column is empty."""
    # A bag of embeddings gathers and adds in one pass; a gather followed by index_add costs ten times as much on CPU.
    return functional.embedding_bag(edges.indices, x, edges.indptr, mode="mean", include_last_offset=True)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How `fit` trains. device: "cpu", "cuda", ..."""

    epochs: int = 10
    hidden_dim: int = 128
    dropout: float = 0.5
    learning_rate: float = 0.005
    weight_decay: float = 0.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.hidden_dim < 1:
            raise InvalidArgument(f"training: expected at least one epoch and one hidden unit, found {self}")
        if not 0 <= self.dropout < 1 or not self.learning_rate > 0:
            raise InvalidArgument(f"training: expected 0 <= dropout < 1 and a learning rate above 0, found {self}")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch's words for: unknown, and not built in
            raise InvalidArgument(f"training: device {self.device!r} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One pass over the seeds. loss, accuracy: means over them; seconds: all of it; load_seconds: the part in which the
    model waited for minibatches. val_accuracy: behind it, None where nobody asked."""

    epoch: int
    num_batches: int
    loss: float
    accuracy: float
    seconds: float
    load_seconds: float
    val_accuracy: float | None = None


def fit(
    loader: Iterable[Any],
    labels: Labels,
    options: TrainOptions,
    *,
    in_dim: int,
    num_layers: int,
    validate: Callable[[GraphSage], float] | None = None,
    on_epoch: Callable[[EpochReport], object] | None = None,
) -> tuple[GraphSage, list[EpochReport]]:
    """Train a `GraphSage` by Adam and return it with a report of each epoch.

    loader: each pass over it is an epoch, as with the loaders here. labels: int64 [num_nodes]. in_dim: numbers in a row
    of features. num_layers: the hops of its minibatches. validate: called with the model behind each epoch. on_epoch:
    called with each report. The first weights and the dropout follow from `options.seed`, by torch's generator.
    """
    torch.manual_seed(options.seed)
    num_classes = int(labels.max()) + 1
    model = GraphSage(in_dim, options.hidden_dim, num_classes, num_layers, options.dropout).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    reports = []
    for epoch in range(options.epochs):
        report = train_epoch(model, optimizer, loader, labels, epoch=epoch, device=options.device)
        if validate is not None:
            report = replace(report, val_accuracy=validate(model))
        reports.append(report)
        if on_epoch is not None:
            on_epoch(report)
    return model, reports


def train_epoch(
    model: GraphSage,
    optimizer: torch.optim.Optimizer,
    minibatches: Iterable[Any],
    labels: Labels,
    *,
    epoch: int = 0,
    device: torch.device | str = "cpu",
) -> EpochReport:
    """Take a step of the optimizer for each minibatch, and report.

    minibatches: `Minibatch` or `TensorMinibatch` with one table of features. labels: int64 [num_nodes], the class of
    every node that may be a seed.
    """
    model.train()
    began = time.perf_counter()
    waited, num_batches, num_seeds, loss_sum, right = 0.0, 0, 0, 0.0, 0
    iterator = iter(minibatches)
    while True:
        asked = time.perf_counter()
        minibatch = next(iterator, None)
        waited += time.perf_counter() - asked
        if minibatch is None:
            break
        scores, wanted = _scores(model, minibatch, labels, device)
        loss = functional.cross_entropy(scores, wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        num_batches += 1
        num_seeds += len(wanted)
        loss_sum += float(loss.detach()) * len(wanted)
        right += int((scores.argmax(1) == wanted).sum())
        del minibatch, scores, loss  # gives the loader its buffer back before the next one is asked for
    count = max(1, num_seeds)
    return EpochReport(epoch, num_batches, loss_sum / count, right / count, time.perf_counter() - began, waited)


def evaluate(
    model: GraphSage, minibatches: Iterable[Any], labels: Labels, *, device: torch.device | str = "cpu"
) -> float:
    """Return the share of seeds whose class the model names, over all minibatches."""
    model.eval()
    right, num_seeds = 0, 0
    with torch.no_grad():
        for minibatch in minibatches:
            scores, wanted = _scores(model, minibatch, labels, device)
            right += int((scores.argmax(1) == wanted).sum())
            num_seeds += len(wanted)
    return right / max(1, num_seeds)


def _scores(
    model: GraphSage, minibatch: Any, labels: Labels, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = minibatch if isinstance(minibatch, TensorMinibatch) else tensor_minibatch(minibatch)
    if list(tensors.nodes) != [NODE] or tensors.labels is not None:
        raise InvalidArgument(f"expected minibatches of nodes of one type, found types {list(tensors.nodes)} or links")
    wanted = torch.as_tensor(labels)[tensors.seeds].to(device)
    tensors = tensors.to(device, non_blocking=True)
    if len(tensors.features) != 1:
        raise InvalidArgument(f"expected minibatches with one table of features, found {sorted(tensors.features)}")
    [x] = tensors.features.values()
    if x.dtype == torch.uint16:
        raise InvalidArgument('expected features to compute with, found uint16: import bfloat16 with codec="bfloat16"')
    return model(x.reshape(len(x), -1).float(), tensors), wanted
