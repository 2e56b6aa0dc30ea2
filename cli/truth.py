"""The true neighbours that recall is measured against, whatever distances their file speaks of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from outcrop.ann import recall_at_k
from outcrop.datasets.ground_truth import read_ground_truth
from outcrop.datasets.vectors import Vectors, open_vectors
from outcrop.errors import InvalidArgument
from outcrop.types import Float32Array, Int64Array, Neighbors

if TYPE_CHECKING:
    from outcrop.cli.place import Collection

_PROBED_QUERIES = 64
# Two implementations in float32 agree to about 1e-6; vectors stored as float16 to about 1e-3.
_SAME = 5e-3

_Conversion = Callable[[Float32Array], Float32Array]
_CONVERSIONS: dict[str, dict[str, _Conversion]] = {
    "l2": {"squared Euclidean distances": lambda d: d, "Euclidean distances": lambda d: d * d},
    "ip": {"negated inner products": lambda d: d, "inner products": lambda d: -d},
    "cosine": {
        "cosine distances": lambda d: d,
        "cosine similarities": lambda d: 1 - d,
        "negated cosine similarities": lambda d: 1 + d,
        "squared Euclidean distances of unit vectors": lambda d: d * np.float32(0.5),
    },
}


@dataclass(frozen=True, slots=True)
class Truth:
    """True neighbours, nearest first: ids int64 [n, k], None when only distances may be compared, and distances as
    outcrop gives them, float32 [n, k], None when the file has none. kind: what was compared, in words."""

    ids: Int64Array | None
    distances: Float32Array | None
    kind: str

    def recall(self, found: Neighbors) -> Float32Array:
        """Return the recall of each query, float32 [n]: found ids that are true neighbours, and with distances all
        that are as near as the k-th true one, since ties are common."""
        k = found.ids.shape[1]
        right = np.zeros(found.ids.shape, bool)
        if self.ids is not None:
            right = (found.ids[:, :, None] == self.ids[:, None, :k]).any(axis=2)
        if self.distances is None:
            hits: Float32Array = (right.sum(axis=1) / k).astype(np.float32)
            return hits
        missing = found.ids == (None if self.ids is None and found.ids.dtype.kind == "O" else -1)
        places = np.where(missing, -1, 0).astype(np.int64)
        return recall_at_k(np.where(right, -np.inf, found.distances).astype(np.float32), places, self.distances)


def read_truth(collection: "Collection", queries: Vectors, k: int, path: Path, distances: Path | None) -> Truth:
    """Read true neighbours of the queries from a file; `distances` is a second one where they lie apart.

    Distances may be squared or not, negated or not: what they are is seen from neighbours that a search finds too.
    Raises InvalidArgument when they do not belong to the queries, k and collection.
    """
    given = read_ground_truth(path)
    if len(given.ids) < len(queries) or given.k < k:
        raise InvalidArgument(
            f"{path}: expected {k} neighbours or more for {len(queries)} queries, found {list(given.ids.shape)}"
        )
    ids: Int64Array | None = given.ids[: len(queries)]
    values = given.distances if distances is None else _distances(distances, given.ids.shape)
    if collection.spec.id_type == "string":
        ids = None
        if values is None:
            raise InvalidArgument(f"{path}: the collection has string ids, so distances are needed to compare")
    if values is None:
        return Truth(ids, None, "ids alone: ties count as misses")
    values = values[: len(queries)]
    kind, convert = _recognized(collection, queries, k, ids, values, path)
    return Truth(ids, convert(values), kind)


def exact_truth(collection: "Collection", queries: Vectors, k: int) -> Truth:
    """Compute true neighbours by comparing the queries with every stored vector."""
    found = collection.search(queries, k, exact=True)
    return Truth(None, found.distances, "distances of an exact search")


def _distances(path: Path, shape: tuple[int, ...]) -> Float32Array:
    with open_vectors(path) as source:
        values = source.read(0, source.num_rows).astype(np.float32)
    if values.shape != shape:
        raise InvalidArgument(f"{path}: expected shape {list(shape)} as that of the ids, found {list(values.shape)}")
    return values


def _recognized(
    collection: "Collection", queries: Vectors, k: int, ids: Int64Array | None, values: Float32Array, path: Path
) -> tuple[str, _Conversion]:
    probe = collection.search(queries[:_PROBED_QUERIES], k)
    ours, theirs = _pairs(probe, ids, values)
    if not len(ours):
        raise InvalidArgument(f"{path}: holds no neighbour that a search finds; is it of these vectors and queries?")
    for kind, convert in _CONVERSIONS[collection.spec.metric].items():
        error = np.abs(convert(theirs) - ours)
        if np.median(error) <= _SAME * max(float(np.median(np.abs(ours))), 1e-3):
            return kind, convert
    raise InvalidArgument(
        f"{path}: its distances, such as {theirs[0]:.6g}, do not belong to the collection's metric "
        f"{collection.spec.metric}, where that neighbour has {ours[0]:.6g}"
    )


def _pairs(found: Neighbors, ids: Int64Array | None, values: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return our distances and theirs, float32 [m] each, of the same neighbours."""
    if ids is None:
        return found.distances[:, 0], values[: len(found), 0]
    same: npt.NDArray[Any] = found.ids[:, :, None] == ids[: len(found), None, :]
    query, ours, theirs = np.nonzero(same)
    return found.distances[query, ours], values[query, theirs]
