"""Neighbour sampling in memory, in plain NumPy: the reference that loaders are compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from outcrop.gnn_loader.adapters.tensor_minibatch import TensorLayer, TensorMinibatch
from outcrop.types import NODE, NODE_TO_NODE, AnyArray, Float32Array, Int64Array


@dataclass(frozen=True, slots=True)
class NumpySampler:
    """Draws without replacement; each hop draws anew for all nodes so far, as DGL's blocks do.

    indptr, indices: the graph by destination. features: [num_nodes, dim].
    """

    indptr: Int64Array
    indices: AnyArray
    features: AnyArray
    fanouts: Sequence[int]

    def epoch(self, seeds: Int64Array, batch_size: int, rng: np.random.Generator) -> Iterator[TensorMinibatch]:
        """Yield minibatches of all seeds, shuffled."""
        shuffled = rng.permutation(seeds)
        for start in range(0, len(shuffled), batch_size):
            yield self.sample(shuffled[start : start + batch_size], rng)

    def sample(self, seeds: Int64Array, rng: np.random.Generator) -> TensorMinibatch:
        """Return the minibatch of distinct seeds, with features."""
        nodes = seeds
        offsets = [0, len(nodes)]
        layers = []
        for hop, fanout in enumerate(self.fanouts):
            counts, sources = self._draw(nodes, fanout, rng)
            new = np.setdiff1d(sources, nodes)
            num_dst, nodes = len(nodes), np.concatenate([nodes, new])
            offsets.append(len(nodes))
            row_of = np.argsort(nodes)
            rows = row_of[np.searchsorted(nodes, sources, sorter=row_of)]
            indptr = np.concatenate([[0], np.cumsum(counts)])
            layers.append(
                TensorLayer(hop, NODE_TO_NODE, 0, num_dst, _int32(indptr), _int32(rows), None),
            )
        x: Float32Array = self.features[nodes].astype(np.float32)
        return TensorMinibatch(
            epoch=0,
            batch=0,
            nodes={NODE: torch.from_numpy(nodes)},
            hop_offsets={NODE: tuple(offsets)},
            layers=tuple(layers),
            seed_type=NODE,
            link_src_type=NODE,
            seed_rows=torch.arange(len(seeds)),
            labels=None,
            trees=None,
            features={"x": torch.from_numpy(x)},
        )

    def _draw(self, nodes: Int64Array, fanout: int, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
        """Return how many in-edges were drawn for each node, and their sources."""
        starts, degrees = self.indptr[nodes], self.indptr[nodes + 1] - self.indptr[nodes]
        column = np.repeat(np.arange(len(nodes)), degrees)
        first = np.concatenate([[0], np.cumsum(degrees)[:-1]])
        place = np.arange(len(column)) - first[column]
        shuffled = np.lexsort((rng.random(len(column)), column))
        counts = degrees if fanout < 0 else np.minimum(degrees, fanout)
        kept = shuffled[place < counts[column]]
        return counts, self.indices[starts[column[kept]] + place[kept]].astype(np.int64)


def _int32(values: AnyArray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int32))
