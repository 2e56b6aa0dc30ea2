"""Edges of one type on their way into a graph: checked, in the types of the disk, sorted by destination."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.store import Field
from outcrop.types import AnyArray, EdgeBatch, EdgeType, Float32Array, Int64Array, UInt32Array

_EXTRAS = {"weight": "<f4", "time": "<i8", "edge_id": "<i8"}


@dataclass(frozen=True, slots=True)
class EdgeShape:
    """What all edges of one type have in common: the number of nodes at both ends, and their columns."""

    edge_type: EdgeType
    num_src: int
    num_dst: int
    extras: tuple[str, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns of a record: src, dst, and of weight, time, edge_id those that are there."""
        return (Field("src", "<u4"), Field("dst", "<u4"), *(Field(name, _EXTRAS[name]) for name in self.extras))

    @property
    def record_bytes(self) -> int:
        """Bytes of one edge."""
        return sum(field.item_bytes for field in self.fields)

    def most_sorted(self, memory_bytes: int) -> int:
        """Return how many edges may be sorted at once: records, sorted records, keys and their order."""
        return max(1, memory_bytes // (2 * self.record_bytes + 24))


@dataclass(frozen=True, slots=True)
class Edges:
    """Columns of edges [n], as on disk."""

    src: UInt32Array
    dst: UInt32Array
    weight: Float32Array | None = None
    time: Int64Array | None = None
    edge_id: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.src)

    def columns(self) -> list[AnyArray]:
        """Return the columns that are there, in the order of `EdgeShape.fields`."""
        return [column for column in (self.src, self.dst, self.weight, self.time, self.edge_id) if column is not None]

    def part(self, start: int, stop: int) -> "Edges":
        """Return edges [start, stop)."""
        return Edges(*(None if column is None else column[start:stop] for column in self._all()))  # type: ignore[arg-type]

    def sorted(self) -> "Edges":
        """Return the edges by destination, time (where they have one), source; equal ones stay in their order."""
        if self.is_sorted():
            return self
        if self.time is not None:
            return self._taken(np.lexsort((self.src, self.time, self.dst)))
        key = (self.dst.astype(np.uint64) << np.uint64(32)) | self.src
        if self.weight is None and self.edge_id is None:
            key.sort()
            return Edges(key.astype(np.uint32), (key >> np.uint64(32)).astype(np.uint32))
        return self._taken(np.argsort(key, kind="stable"))

    def is_sorted(self) -> bool:
        """Whether the edges come by destination, time, source."""
        ahead = np.zeros(max(0, len(self) - 1), bool)  # by the keys seen so far, neighbours are in order and differ
        for key in (self.dst, self.time, self.src):
            if key is not None:
                if ((key[1:] < key[:-1]) & ~ahead).any():
                    return False
                ahead |= key[1:] > key[:-1]
        return True

    def _taken(self, order: AnyArray) -> "Edges":
        return Edges(*(None if column is None else column[order] for column in self._all()))  # type: ignore[arg-type]

    def _all(self) -> tuple[AnyArray | None, ...]:
        return self.src, self.dst, self.weight, self.time, self.edge_id


def edges_of(shape: EdgeShape, columns: list[AnyArray]) -> Edges:
    """Return records in the order of `shape.fields` as edges."""
    extras: Any = dict(zip(shape.extras, columns[2:], strict=True))
    return Edges(columns[0], columns[1], **extras)


def extras_of(batch: EdgeBatch) -> tuple[str, ...]:
    """Return which columns a batch has beside its ends."""
    return tuple(name for name in _EXTRAS if getattr(batch, name) is not None)


def part_of(batch: EdgeBatch, start: int, stop: int) -> EdgeBatch:
    """Return edges [start, stop) of a batch."""
    extras = (batch.weight, batch.time, batch.edge_id)
    cut: list[Any] = [None if column is None else column[start:stop] for column in extras]
    return EdgeBatch(batch.src[start:stop], batch.dst[start:stop], *cut)


def checked_edges(shape: EdgeShape, batch: EdgeBatch, first_edge: int) -> Edges:
    """Return a batch as it is stored. first_edge: the number of its first edge in the input, for messages.

    Raises InvalidArgument naming the first bad edge: a node that does not exist, a weight that is negative or not
    finite, columns of other lengths or types than the rest.
    """
    check_columns(shape, batch, first_edge)
    where = f"edges {shape.edge_type}"
    _check_ends(f"{where}: edge", batch.src, shape.num_src, first_edge, "source")
    _check_ends(f"{where}: edge", batch.dst, shape.num_dst, first_edge, "destination")
    weight = None if batch.weight is None else _checked_weights(where, batch.weight, first_edge)
    time, edge_id = (None if column is None else column.astype("<i8") for column in (batch.time, batch.edge_id))
    return Edges(batch.src.astype("<u4"), batch.dst.astype("<u4"), weight, time, edge_id)


def check_columns(shape: EdgeShape, batch: EdgeBatch, first_edge: int) -> None:
    """Raise InvalidArgument unless a batch has the columns of `shape`, all of one length and of numbers."""
    where = f"edges {shape.edge_type}"
    if extras_of(batch) != shape.extras:
        found, expected = list(extras_of(batch)), list(shape.extras)
        raise InvalidArgument(f"{where}: from edge {first_edge} on: columns {found}, those before had {expected}")
    for name in ("src", "dst", *shape.extras):
        column = getattr(batch, name)
        kinds = "fiu" if name == "weight" else "iu"
        too_wide = name in ("time", "edge_id") and column.dtype == np.uint64
        if column.shape != (len(batch.src),) or column.dtype.kind not in kinds or too_wide:
            what = "numbers" if name == "weight" else "integers that fit int64"
            raise InvalidArgument(
                f"{where}: from edge {first_edge} on: {name}: expected {len(batch.src)} {what}, found "
                f"{column.dtype} {list(column.shape)}"
            )


def _check_ends(where: str, ids: AnyArray, num_nodes: int, first_edge: int, end: str) -> None:
    bad = (ids < 0) | (ids >= num_nodes)
    if bad.any():
        place = int(np.argmax(bad))
        expected = f"0 to {num_nodes - 1}" if num_nodes else "none, as the type has no nodes"
        raise InvalidArgument(f"{where} {first_edge + place}: {end} {ids[place]}, expected {expected}")


def _checked_weights(where: str, weights: AnyArray, first_edge: int) -> Float32Array:
    with np.errstate(over="ignore"):
        stored: Float32Array = weights.astype("<f4")
    bad = ~((stored >= 0) & (stored < np.inf))
    if bad.any():
        place = int(np.argmax(bad))
        raise InvalidArgument(
            f"{where}: edge {first_edge + place}: weight {weights[place]}, expected a finite number, at least 0"
        )
    return stored
