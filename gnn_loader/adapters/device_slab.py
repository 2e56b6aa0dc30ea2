"""Rows on a device (GPU): the tier above the host's. What will be used soonest stays there; the rest is sent.

    for minibatch in DeviceLoader(plan.loader(slots=6), "cuda", {"x": "2GiB"}, num_rows={"x": graph.num_nodes()}):
        ...                                       # a TensorMinibatch on the device

Which rows stay is decided as in every tier, by next uses (`native.NextUseCache`) among the minibatches that are held
back, and beyond those by score. The device needs no CUDA, so that all of it can be tested without.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorMinibatch, shared_tensor, tensor_minibatch
from outcrop.gnn_loader.scores import ranked
from outcrop.store import parse_bytes
from outcrop.types import AnyArray, Minibatch, UInt32Array

# A GPU reads lines of 128 bytes: a row that begins elsewhere costs a line more (PyTorch-Direct, arXiv 2101.07956).
LINE_BYTES = 128


@dataclass(frozen=True, slots=True)
class SlabStatistics:
    """What a slab did: rows found in it, rows sent and their bytes, and the room that it has."""

    capacity: int
    slab_bytes: int
    hits: int
    misses: int
    sent_bytes: int


class DeviceSlab:
    """The rows of one table that a device keeps, for one thread at a time.

    `announce` the keys of coming requests in their order; `gather` serves the oldest.
    """

    def __init__(
        self,
        num_rows: int,
        row: torch.Tensor,
        memory_bytes: int,
        device: torch.device | str,
        scores: AnyArray | None = None,
    ) -> None:
        """num_rows: of the table. row: one of them, for its shape and type. memory_bytes: of the device, for the slab.
        scores: of all rows, numbers [num_rows]: which to keep when nobody announced a use."""
        self.device = torch.device(device)
        self._row_shape, self._dim = row.shape, row.numel()
        stride = _stride(row.numel(), row.element_size())
        self.capacity = min(num_rows, memory_bytes // (stride * row.element_size()))
        self._slab = torch.empty((self.capacity, stride), dtype=row.dtype, device=self.device)
        self._cache = native.NextUseCache(num_rows, self.capacity)
        if scores is not None:
            self._cache.set_scores(ranked(scores))
        self._future = native.LookAhead(num_rows)
        self._staging = _Staging(self.device)
        self._request, self._hits, self._misses = 0, 0, 0

    def announce(self, keys: UInt32Array) -> None:
        """Say what will be asked for next: uint32 [n], in the order of the rows."""
        request = self._future.end
        self._cache.promote(self._future.announce(keys), request)

    def gather(self, keys: UInt32Array, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of the oldest request announced, [n, *row_shape], on the device.

        keys: as announced. rows: on the host, [n, *row_shape]; those that the slab has are not sent.
        """
        step = self._cache.step(self._request, keys, self._future.take())
        self._request += 1
        slots = step.hit_slots
        hit_rows, missed_rows = np.flatnonzero(slots != native.MISS), np.flatnonzero(slots == native.MISS)
        self._hits, self._misses = self._hits + len(hit_rows), self._misses + len(missed_rows)
        out = torch.empty((len(keys), self._dim), dtype=self._slab.dtype, device=self.device)
        out[self._index(hit_rows)] = self._slab[self._index(slots[hit_rows]), : self._dim]
        out[self._index(missed_rows)] = self._staging.send(rows.reshape(len(keys), self._dim), missed_rows)
        # A slot that was hit may be given away by the same step, so rows enter when all hits have been taken.
        self._slab[self._index(step.insert_slots), : self._dim] = out[self._index(step.insert_indices)]
        return out.reshape(len(keys), *self._row_shape)

    def statistics(self) -> SlabStatistics:
        """Return what the slab did so far."""
        sent_bytes = self._misses * self._dim * self._slab.element_size()
        return SlabStatistics(self.capacity, self._slab.nbytes, self._hits, self._misses, sent_bytes)

    def _index(self, places: AnyArray) -> torch.Tensor:
        return torch.from_numpy(places.astype(np.int64)).to(self.device)


def _stride(dim: int, element_bytes: int) -> int:
    """Elements from row to row: whole lines, or for short rows a power of two, so that no row lies in two lines."""
    row_bytes = max(1, dim * element_bytes)
    stride_bytes = -(-row_bytes // LINE_BYTES) * LINE_BYTES
    while stride_bytes // 2 >= row_bytes:
        stride_bytes //= 2
    return stride_bytes // element_bytes


class _Staging:
    """Page-locked host memory that rows are gathered into and sent from; two buffers, so that one is filled while the
    other is under way. Without CUDA it sends nothing, the rows are there already."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pin = device.type == "cuda"
        self._buffers: list[torch.Tensor | None] = [None, None]
        self._sent: list[Any] = [None, None]
        self._turn = 0

    def send(self, rows: torch.Tensor, places: AnyArray) -> torch.Tensor:
        """Return rows[places] on the device; the copy may still be under way on the current stream."""
        index = torch.from_numpy(places)
        if not self._pin:
            return rows.index_select(0, index).to(self._device)
        self._turn = 1 - self._turn
        if self._sent[self._turn] is not None:
            self._sent[self._turn].synchronize()
        buffer = self._room(len(places), rows)
        torch.index_select(rows, 0, index, out=buffer)
        sent = buffer.to(self._device, non_blocking=True)
        self._sent[self._turn] = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._sent[self._turn].record()
        return sent

    def _room(self, num_rows: int, rows: torch.Tensor) -> torch.Tensor:
        buffer = self._buffers[self._turn]
        if buffer is None or len(buffer) < num_rows:
            buffer = torch.empty((num_rows + num_rows // 4, rows.shape[1]), dtype=rows.dtype, pin_memory=True)
            self._buffers[self._turn] = buffer
        return buffer[:num_rows]


class DeviceLoader:
    """Minibatches of any loader on a device, with a slab for each table of features.

    A window of minibatches is held back, and what they hold of the loader's buffers: it needs `window` + 2 of them.
    """

    def __init__(
        self,
        loader: Iterable[Minibatch],
        device: torch.device | str,
        memory: Mapping[str, str | int],
        num_rows: Mapping[str, int],
        *,
        node_types: Mapping[str, str] | None = None,
        scores: Mapping[str, AnyArray] | None = None,
        window: int = 2,
    ) -> None:
        """memory: of the device, by table; a table without any is sent as it is. num_rows: by table. node_types: whose
        rows a table has, where the graph has several types. scores: by table, see `DeviceSlab`."""
        if window < 0:
            raise InvalidArgument(f"window: expected 0 or more minibatches, found {window}")
        unknown = sorted(set(memory) - set(num_rows))
        if unknown:
            raise InvalidArgument(f"num_rows: expected all tables of memory, found none for {unknown}")
        self._loader, self._device, self._window = loader, torch.device(device), window
        self._memory = {table: parse_bytes(size) for table, size in memory.items()}
        self._num_rows, self._node_types, self._scores = dict(num_rows), node_types or {}, scores or {}
        self._slabs: dict[str, DeviceSlab] = {}

    def __iter__(self) -> Iterator[TensorMinibatch]:
        """Yield the loader's minibatches in its order. What the slabs hold is kept from one pass to the next."""
        waiting: deque[Minibatch] = deque()
        for minibatch in self._loader:
            self._announce(minibatch)
            waiting.append(minibatch)
            del minibatch
            if len(waiting) > self._window:
                yield self._on_device(waiting.popleft())
        while waiting:
            yield self._on_device(waiting.popleft())

    def statistics(self) -> dict[str, SlabStatistics]:
        """Return what each slab did so far, by table."""
        return {table: slab.statistics() for table, slab in self._slabs.items()}

    def _announce(self, minibatch: Minibatch) -> None:
        for table, memory_bytes in self._memory.items():
            if table not in minibatch.features:
                raise InvalidArgument(f"memory: expected tables among {sorted(minibatch.features)}, found {table!r}")
            rows = minibatch.features[table]
            if table not in self._slabs:
                row = shared_tensor(np.empty(rows.shape[1:], rows.dtype))
                scores = self._scores.get(table)
                self._slabs[table] = DeviceSlab(self._num_rows[table], row, memory_bytes, self._device, scores)
            self._slabs[table].announce(self._keys(minibatch, table))

    def _keys(self, minibatch: Minibatch, table: str) -> UInt32Array:
        return minibatch.nodes[self._node_types.get(table, minibatch.seed_type)]

    def _on_device(self, minibatch: Minibatch) -> TensorMinibatch:
        tensors = tensor_minibatch(minibatch)
        features = {
            table: self._slabs[table].gather(self._keys(minibatch, table), rows) if table in self._slabs else rows
            for table, rows in tensors.features.items()
        }
        return replace(tensors, features=features).to(self._device, non_blocking=True)
