"""A minibatch as tensors, which share its memory where torch can read it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, EdgeType


@dataclass(frozen=True, slots=True)
class TensorLayer:
    """The edges drawn in one hop along one edge type, by destination.

    Column c is the row dst_begin + c among the nodes of the destination type; indptr: int32
    [dst_end - dst_begin + 1]; indices: int32, rows among the nodes of the source type; edges: int64, places in the
    graph's arrays, or None where nobody asked for them.
    """

    hop: int
    edge_type: EdgeType
    dst_begin: int
    dst_end: int
    indptr: torch.Tensor
    indices: torch.Tensor
    edges: torch.Tensor | None

    def destinations(self) -> torch.Tensor:
        """Return the row of each edge's destination, int64 [num_edges]."""
        rows = torch.arange(self.dst_begin, self.dst_end, device=self.indptr.device)
        return rows.repeat_interleave(self.indptr.diff().long(), output_size=len(self.indices))


@dataclass(frozen=True, slots=True)
class TensorMinibatch:
    """One minibatch. `features` and `layers` are the loader's own memory, which it uses again when they are gone:
    keep a `clone()` of what must outlive the step, and do not write into them.

    nodes: by type, int64 ids; seeds first, then in order of discovery. hop_offsets: by type, [num_hops + 2]; the rows
    [0, hop_offsets[t][h + 1]) are known before hop h. seed_rows: int64, the row of each seed as given; of links source,
    destination, source, ... labels: float32, of links: 1 given, 0 drawn; None for node seeds. trees: by type, int64,
    the seed that each row belongs to; None unless trees are disjoint. features: by name, rows in the order of `nodes`.
    """

    epoch: int
    batch: int
    nodes: dict[str, torch.Tensor]
    hop_offsets: dict[str, tuple[int, ...]]
    layers: tuple[TensorLayer, ...]
    seed_type: str
    link_src_type: str
    seed_rows: torch.Tensor
    labels: torch.Tensor | None
    trees: dict[str, torch.Tensor] | None
    features: dict[str, torch.Tensor]

    @property
    def num_hops(self) -> int:
        """How many times neighbours were drawn."""
        return len(self.hop_offsets[self.seed_type]) - 2

    @property
    def seeds(self) -> torch.Tensor:
        """The ids of the seeds as given: int64 [num_seeds], of links [num_links, 2]."""
        if self.labels is None:
            return self.nodes[self.seed_type][self.seed_rows]
        sources, destinations = self.seed_rows.view(-1, 2).T
        return torch.stack([self.nodes[self.link_src_type][sources], self.nodes[self.seed_type][destinations]], dim=1)

    @property
    def expanded_once(self) -> bool:
        """Whether neighbours were drawn for each node once (PyG's way), not anew in each hop (DGL's)."""
        return all(one.dst_begin >= self.hop_offsets[one.edge_type[2]][one.hop] for one in self.layers)

    def edges_before(self, hop: int, edge_type: EdgeType) -> TensorLayer:
        """Return one layer with a column for every node known before `hop`: what a model's layer adds up.

        The edges are those of that hop or, where each node was expanded once, of the hop that followed its discovery.
        """
        num_rows = self.hop_offsets[edge_type[2]][hop + 1]
        hops = range(hop + 1) if self.expanded_once else range(hop, hop + 1)
        found = [one for one in self.layers if one.edge_type == edge_type and one.hop in hops]
        if len(found) == 1 and (found[0].dst_begin, found[0].dst_end) == (0, num_rows):
            return found[0]
        return _joined(found, hop, edge_type, num_rows, self.seed_rows.device)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "TensorMinibatch":
        """Return the minibatch on `device`; tensors that are there already are not copied."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> "TensorMinibatch":
        """Return a page-locked copy, which a GPU copies without waiting; DataLoader(pin_memory=True) calls this."""
        return self._with(lambda tensor: tensor.pin_memory())

    def clone(self) -> "TensorMinibatch":
        """Return a copy in memory of its own."""
        return self._with(lambda tensor: tensor.clone())

    def _with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "TensorMinibatch":
        changed: TensorMinibatch = _apply(self, change)
        return changed


def tensor_minibatch(minibatch: Any) -> TensorMinibatch:
    """Return a `Minibatch` as tensors. Nothing is copied but node ids and seed rows, which torch indexes as int64.

    Rows of bfloat16 that were stored as they were (codec raw) come as uint16: `view(torch.bfloat16)` them.
    """
    layers = tuple(
        TensorLayer(
            layer.hop,
            layer.edge_type,
            layer.dst_begin,
            layer.dst_end,
            _rows(layer.indptr),
            _rows(layer.indices),
            None if layer.edges is None else shared_tensor(layer.edges.view(np.int64)),
        )
        for layer in minibatch.layers
    )
    trees = minibatch.trees
    return TensorMinibatch(
        minibatch.epoch,
        minibatch.batch,
        {name: torch.from_numpy(ids.astype(np.int64)) for name, ids in minibatch.nodes.items()},
        {name: tuple(int(o) for o in offsets) for name, offsets in minibatch.hop_offsets.items()},
        layers,
        minibatch.seed_type,
        minibatch.link_src_type,
        torch.from_numpy(minibatch.seed_rows.astype(np.int64)),
        None if minibatch.labels is None else shared_tensor(minibatch.labels),
        None if trees is None else {name: torch.from_numpy(tree.astype(np.int64)) for name, tree in trees.items()},
        {name: shared_tensor(rows) for name, rows in minibatch.features.items()},
    )


def attributes_of(
    tables: Collection[str], node_types: Collection[str], given: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Return, for each table of a loader, the node type that it belongs to and the name of its rows there.

    given: both, by table. Where it says nothing, rows are called "x" and belong to the only type, or to the type whose
    name the table has. Raises InvalidArgument where that tells nothing, or two tables would get one name.
    """
    found: dict[str, tuple[str, str]] = {}
    for table in tables:
        only = next(iter(node_types)) if len(node_types) == 1 else None
        place = given.get(table, (table if table in node_types else only, "x"))
        if place[0] is None or place in found.values():
            raise InvalidArgument(
                f"table {table!r}: expected its node type, one of {sorted(node_types)}, and a name of its own for its "
                f"rows, in attributes={{{table!r}: (type, name)}}"
            )
        found[table] = (place[0], place[1])
    return found


def _joined(
    layers: list[TensorLayer], hop: int, edge_type: EdgeType, num_rows: int, device: torch.device
) -> TensorLayer:
    """Layers of ascending columns as one; columns that none of them has are empty."""
    degrees = torch.zeros(num_rows, dtype=torch.int32, device=device)
    for one in layers:
        degrees[one.dst_begin : one.dst_end] = one.indptr.diff()
    indptr = torch.cat([degrees.new_zeros(1), degrees.cumsum(0, dtype=torch.int32)])
    indices = torch.cat([degrees[:0], *(one.indices for one in layers)])
    edges = [one.edges for one in layers if one.edges is not None]
    places = torch.cat([degrees[:0].long(), *edges]) if len(edges) == len(layers) else None
    return TensorLayer(hop, edge_type, 0, num_rows, indptr, indices, places)


def shared_tensor(array: AnyArray) -> torch.Tensor:
    """Return a tensor over the memory of `array`, which lives as long as the tensor.

    torch has no read-only tensors and warns of every read-only array. Here that is known, and said where the tensors
    are handed out; hence the array is shown to it as a writable one.
    """
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Writable(array)))


class _Writable:
    """The array interface of a read-only array, without the mark; keeps the array alive."""

    def __init__(self, array: AnyArray) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _rows(array: AnyArray) -> torch.Tensor:
    """Local rows, uint32, as int32: torch hardly computes with unsigned types, and a minibatch has no 2^31 rows."""
    return shared_tensor(array.view(np.int32))


def _apply(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Rebuild `value` with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _apply(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and value and isinstance(value[0], TensorLayer):
        return tuple(_apply(item, change) for item in value)
    if isinstance(value, TensorLayer | TensorMinibatch):
        return type(value)(**{field.name: _apply(getattr(value, field.name), change) for field in fields(value)})
    return value
