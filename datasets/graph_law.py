"""The law of generated graphs: communities of power-law size, power-law degrees, features in which neighbours help.

Nodes are laid out along a line, community after community, the most popular of each community first; node ids are a
shuffle of that line, so that neither communities nor popular nodes are neighbours in a file. An edge's source is drawn
from its destination's community, or from the whole graph, in either case with a preference for the popular: the node
at a share x of its community is chosen with density x^-2/3, which makes out-degrees a power law of exponent 2.5.
In-degrees follow the same law, independently, from a third of the mean upwards.

The constants were chosen so that minibatches want rows as those of the graphs do on which such systems are compared.
4,000,000 nodes, degree 15, seed 0, 40,000 train nodes in batches of 1,024, fan-outs (10, 10, 10) without replacement:
16.7 million rows wanted in an epoch. Missed, in millions, with a cache of 5, 10, 20 and 50 % of the rows:
    Belady with bypass, empty at first                      10.8   8.4   5.9   3.5
    the most wanted rows of this epoch, loaded before       12.3  10.0   6.9   2.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument

CHUNK_NODES = 65_536
CHUNK_ROWS = 8192

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

MAX_NODES = 2**32 - 2
_COMMUNITY_NODES = 2000
_COMMUNITIES_PER_CLASS = 4
_OWN_COMMUNITY = 0.7
# A node has at most a 50th of all nodes as neighbours, unless four times the mean is more.
_MOST_SHARE = 50
# Lengths beside noise of standard deviation 1. With 16 classes the nearest class centre is right for 43 % of the nodes.
_SIGNAL = 1.6
_COMMUNITY_SIGNAL = 0.8
_REDRAWS = 4
_EDGES, _FEATURES, _MODEL, _NODES, _SPLIT = range(5)


@dataclass(frozen=True, slots=True)
class GraphShape:
    """What a generated graph is like. degree: mean in-degree. dim: of the features. seed: a whole number >= 0."""

    num_nodes: int
    degree: int = 15
    dim: int = 128
    num_classes: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.num_nodes <= MAX_NODES:
            raise InvalidArgument(f"expected 1 to {MAX_NODES:,} nodes, found {self.num_nodes:,}")
        if not 0 <= self.degree <= (self.num_nodes - 1) // 4:
            most = (self.num_nodes - 1) // 4
            raise InvalidArgument(
                f"expected a mean degree of 0 to {most} among {self.num_nodes:,}, found {self.degree}"
            )
        if not 1 <= self.num_classes <= self.num_nodes:
            raise InvalidArgument(f"expected 1 to {self.num_nodes:,} classes, found {self.num_classes}")
        if self.dim < 1 or self.seed < 0:
            raise InvalidArgument(f"expected dim >= 1 and seed >= 0, found {self.dim} and {self.seed}")


class GraphLaw:
    """Every part of the graph of one shape, computed when asked for; holds no more than the communities."""

    def __init__(self, shape: GraphShape) -> None:
        self.shape = shape
        self._ids = Shuffle(shape.num_nodes, _random(shape.seed, _NODES))
        self._bounds = _community_bounds(shape)
        random = _random(shape.seed, _MODEL)
        num_communities = len(self._bounds) - 1
        centers = _directions(random, shape.num_classes, shape.dim, _SIGNAL)
        offsets = _directions(random, num_communities, shape.dim, _COMMUNITY_SIGNAL)
        self._centers = offsets + centers[np.arange(num_communities) % shape.num_classes]

    @property
    def num_chunks(self) -> int:
        """How many chunks of CHUNK_NODES nodes there are; the last may be shorter."""
        return -(-self.shape.num_nodes // CHUNK_NODES)

    def columns(self, chunk: int) -> tuple[Int64Array, Int64Array]:
        """Return the in-edges of the nodes of a chunk: int64 degrees [nodes], int64 sources [their sum].

        Sources of a node ascend, each once, never the node itself.
        """
        nodes = np.arange(chunk * CHUNK_NODES, min((chunk + 1) * CHUNK_NODES, self.shape.num_nodes))
        random = _random(self.shape.seed, _EDGES, chunk)
        column = np.repeat(np.arange(len(nodes)), self._draw_degrees(random, len(nodes)))
        own = self._communities(nodes)[column]
        foreign = np.flatnonzero(random.random(len(column), dtype=np.float32) >= np.float32(_OWN_COMMUNITY))
        own[foreign] = self._any_community(random, len(foreign))
        edges = np.sort((column << 32) | self._draw_sources(random, own))
        for _ in range(_REDRAWS):
            wrong = np.flatnonzero(_unwanted(edges, nodes[0]))
            if len(wrong) == 0:
                break
            sources = self._draw_sources(random, self._any_community(random, len(wrong)))
            edges[wrong] = (edges[wrong] >> 32 << 32) | sources
            edges.sort()
        edges = edges[~_unwanted(edges, nodes[0])]
        return np.bincount(edges >> 32, minlength=len(nodes)), edges & 0xFFFFFFFF

    def labels(self, start: int, stop: int) -> Int64Array:
        """Return the classes of nodes [start, stop), int64."""
        return self._communities(np.arange(start, stop)) % self.shape.num_classes

    def features(self, chunk: int) -> Float32Array:
        """Return the features of the chunk of CHUNK_ROWS nodes: float32 [nodes, dim].

        The direction of the class, a smaller one of the community, and noise of standard deviation 1: a node alone
        tells its class poorly, the mean of its neighbours well.
        """
        start, stop = chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, self.shape.num_nodes)
        rows: Float32Array = _random(self.shape.seed, _FEATURES, chunk).standard_normal(
            (stop - start, self.shape.dim), dtype=np.float32
        )
        rows += self._centers[self._communities(np.arange(start, stop))]
        return rows

    def split(self, *counts: int) -> list[Int64Array]:
        """Return disjoint random sets of nodes of these sizes, int64, each ascending."""
        ends = np.cumsum(counts)
        if len(ends) and ends[-1] > self.shape.num_nodes:
            raise InvalidArgument(f"expected at most {self.shape.num_nodes:,} nodes in all sets, found {ends[-1]:,}")
        shuffle = Shuffle(self.shape.num_nodes, _random(self.shape.seed, _SPLIT))
        return [np.sort(shuffle.forward(np.arange(end - n, end))) for n, end in zip(counts, ends, strict=True)]

    def _communities(self, nodes: Int64Array) -> Int64Array:
        return np.searchsorted(self._bounds, self._ids.backward(nodes), side="right") - 1

    def _any_community(self, random: np.random.Generator, count: int) -> Int64Array:
        places = random.integers(0, self.shape.num_nodes, count)
        return np.searchsorted(self._bounds, places, side="right") - 1

    def _draw_sources(self, random: np.random.Generator, communities: Int64Array) -> Int64Array:
        share = random.random(len(communities))
        share *= share * share  # density x^-2/3
        begin = self._bounds[communities]
        share *= self._bounds[communities + 1] - begin
        begin += share.astype(np.int64)
        return self._ids.forward(begin)

    def _draw_degrees(self, random: np.random.Generator, count: int) -> Int64Array:
        most = max(self.shape.num_nodes // _MOST_SHARE, 4 * self.shape.degree)
        least = _least_degree(self.shape.degree, most)
        # 1 - random() lies in (0, 1]; the power is that of P(degree > x) = (least / x)^1.5.
        degrees = np.minimum(least * (1 - random.random(count)) ** (-1 / 1.5), most)
        rounded: Int64Array = np.floor(degrees + random.random(count)).astype(np.int64)
        return rounded


class Shuffle:
    """A random permutation of [0, count) that is computed, not stored: rounds of odd products and folded high bits."""

    _ROUNDS = 3

    def __init__(self, count: int, random: np.random.Generator) -> None:
        """count: at most 2^32."""
        self._count = count
        self._bits = max(1, int(count - 1).bit_length())
        self._mask = np.int64((1 << self._bits) - 1)
        self._shift = np.int64((self._bits + 1) // 2)
        factors = [int(factor) | 1 for factor in random.integers(0, 1 << self._bits, self._ROUNDS)]
        self._factors = np.array(factors, dtype=np.int64)
        self._inverses = np.array([pow(factor, -1, 1 << self._bits) for factor in factors], dtype=np.int64)

    def forward(self, places: Int64Array) -> Int64Array:
        """Return where these places go, int64."""
        return self._walk(places, self._scramble)

    def backward(self, places: Int64Array) -> Int64Array:
        """Return where these places came from, int64."""
        return self._walk(places, self._unscramble)

    def _walk(self, places: Int64Array, step: Any) -> Int64Array:
        """Apply `step`, a permutation of the next power of two, until the result lies below the count again."""
        result: Int64Array = step(places)
        outside = np.flatnonzero(result >= self._count)
        while len(outside):
            result[outside] = step(result[outside])
            outside = outside[result[outside] >= self._count]
        return result

    def _scramble(self, x: Int64Array) -> Int64Array:
        # Products wrap at 2^64, which leaves their low bits right.
        for factor in self._factors:
            x = (x * factor) & self._mask
            x ^= x >> self._shift
        return x

    def _unscramble(self, x: Int64Array) -> Int64Array:
        # Folding by at least half of the bits undoes itself.
        for inverse in self._inverses[::-1]:
            x = x ^ (x >> self._shift)
            x = (x * inverse) & self._mask
        return x


def _unwanted(edges: Int64Array, first_node: int) -> npt.NDArray[np.bool_]:
    """Return which sorted edges, (column << 32) | source, repeat the one before or are loops."""
    unwanted: npt.NDArray[np.bool_] = (edges >> 32) + first_node == edges & 0xFFFFFFFF
    unwanted[1:] |= edges[1:] == edges[:-1]
    return unwanted


def _community_bounds(shape: GraphShape) -> Int64Array:
    """Return where communities begin on the line, int64 [communities + 1]; the k-th is proportional to 1 / sqrt(k)."""
    wanted = max(shape.num_nodes // _COMMUNITY_NODES, _COMMUNITIES_PER_CLASS * shape.num_classes)
    count = min(wanted, shape.num_nodes)
    shares = np.cumsum(1 / np.sqrt(np.arange(1, count + 1)))
    # One node for each, so that none is empty; the rest by their shares.
    extra = np.floor(shares / shares[-1] * (shape.num_nodes - count) + 0.5).astype(np.int64)
    return np.concatenate([[0], extra + np.arange(1, count + 1)])


def _least_degree(mean: float, most: float) -> float:
    """Return the least value of the power law of exponent 2.5, cut off at `most`, that has this mean (below `most`)."""
    if mean == 0:
        return 0.0
    low, high = 0.0, float(most)
    for _ in range(60):
        least = (low + high) / 2
        low, high = (least, high) if 3 * least - 2 * least * (least / most) ** 0.5 < mean else (low, least)
    return low


def _directions(random: np.random.Generator, count: int, dim: int, length: float) -> Float32Array:
    """Return random vectors of about this length, float32 [count, dim]."""
    drawn = random.standard_normal((count, dim), dtype=np.float32)
    drawn *= np.float32(length / np.sqrt(dim))
    return drawn


def _random(seed: int, stream: int, chunk: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, stream, chunk])))
