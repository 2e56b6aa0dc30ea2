"""What is trained on: nodes or links."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import AnyArray, Int64Array
from outcrop.types.graph import NODE, NODE_TO_NODE, EdgeType


@dataclass(frozen=True, slots=True)
class NodeSeeds:
    """Nodes of one type. ids: integers [n], repetitions allowed. times: int64 [n], for temporal sampling only."""

    ids: AnyArray
    node_type: str = NODE
    times: Int64Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _ids("seeds", self.ids, ndim=1))
        object.__setattr__(self, "times", _times(self.times, len(self.ids)))

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EdgeSeeds:
    """Links to predict. pairs: integers [n, 2] of source and destination, nodes of the ends of `edge_type`.

    negatives: links drawn for each given one: its source, and a destination drawn uniformly from all nodes of the type,
    which may happen to be a true one. They follow behind the given ones and have the time of theirs.
    times: int64 [n], for temporal sampling only.
    """

    pairs: AnyArray
    edge_type: EdgeType = NODE_TO_NODE
    negatives: int = 0
    times: Int64Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", _ids("links", self.pairs, ndim=2))
        if self.pairs.shape[1] != 2:
            raise InvalidArgument(f"links: expected [n, 2] of source and destination, found {self.pairs.shape}")
        if not 0 <= self.negatives < 2**16:
            raise InvalidArgument(f"negatives: expected a count per link below 65536, found {self.negatives}")
        object.__setattr__(self, "times", _times(self.times, len(self.pairs)))

    def __len__(self) -> int:
        return len(self.pairs)


Seeds = NodeSeeds | EdgeSeeds


def _ids(what: str, values: Any, ndim: int) -> AnyArray:
    """Ids as a C-contiguous array of uint32; one that does not fit must not wrap around to one that does."""
    array = np.asarray(values)
    if array.ndim != ndim or (array.dtype.kind not in "iu" and array.size):
        raise InvalidArgument(f"{what}: expected integers with {ndim} dimension(s), found {array.dtype} {array.shape}")
    outside = (array < 0) | (array >= 2**32 - 1) if array.size and array.dtype != np.uint32 else np.zeros(0, bool)
    if outside.any():
        position = int(np.flatnonzero(outside)[0]) // (2 if ndim == 2 else 1)
        raise InvalidArgument(f"{what}: position {position}: expected ids of [0, 2^32 - 1), found {array[position]}")
    return np.ascontiguousarray(array, dtype=np.uint32)


def _times(times: Any, count: int) -> Int64Array | None:
    if times is None:
        return None
    array = np.asarray(times)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise InvalidArgument(f"times: expected {count} integers, one per seed, found {array.dtype} {array.shape}")
    return np.ascontiguousarray(array, dtype=np.int64)
