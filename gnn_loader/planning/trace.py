"""Minibatches sampled ahead of their use, in a scratch file, so that scheduling can read them backwards and forwards.

A killed or cancelled trace goes on behind its last checkpoint: which minibatch comes out does not depend on when or by
how many threads it is drawn.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.gnn_loader.format import MinibatchRecord, unpack
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.store import os_calls, write_atomically
from outcrop.types import Int64Array, UInt8Array, UInt32Array

_RECORDS, _ENDS, _NOTE = "trace.records", "trace.ends", "trace.json"
_CHECKPOINT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Epochs:
    """Which minibatches are sampled: `num_epochs` epochs of `batches` from `first_epoch` on."""

    batches: SeedBatches
    first_epoch: int
    num_epochs: int

    def __len__(self) -> int:
        """How many minibatches there are."""
        return self.num_epochs * len(self.batches)

    def runs(self, start: int, most: int) -> Iterator[tuple[int, int, list[UInt32Array]]]:
        """Yield (epoch, first batch, seed positions of each batch) from minibatch `start` on, at most `most` at
        once."""
        per_epoch = len(self.batches)
        for number in range(start // per_epoch, self.num_epochs):
            epoch = self.first_epoch + number
            positions = list(self.batches.epoch(epoch))
            first = max(0, start - number * per_epoch)
            for batch in range(first, per_epoch, most):
                yield epoch, batch, positions[batch : batch + most]


class Trace:
    """A finished trace, mapped. A context manager; positions count minibatches in the order of sampling."""

    def __init__(self, folder: Path) -> None:
        """Open what `sample_trace` has written to `folder`."""
        ends: Int64Array = np.fromfile(folder / _ENDS, np.int64)
        self._begins = np.concatenate(([0], ends))
        self._bytes: UInt8Array = np.memmap(folder / _RECORDS, np.uint8, "r") if len(ends) else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._begins) - 1

    @property
    def size_bytes(self) -> int:
        """Of all records."""
        return int(self._begins[-1])

    def record(self, position: int) -> MinibatchRecord:
        """Return views of a minibatch; only what is looked at is read."""
        return unpack(self._raw(position), f"trace: minibatch {position}")

    def minibatch(self, position: int) -> native.SampledMinibatch:
        """Return a minibatch, copied, as the core takes it."""
        return native.read_record(self._raw(position), f"trace: minibatch {position}")

    def counts(self, node_type: int) -> Int64Array:
        """Return how many nodes of a type each minibatch wants, int64 [num_minibatches]."""
        return np.array([len(self.record(i).nodes[node_type]) for i in range(len(self))], np.int64)

    def close(self) -> None:
        """Give the map back; views of it keep it."""
        self._bytes = np.empty(0, np.uint8)

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _raw(self, position: int) -> UInt8Array:
        return self._bytes[self._begins[position] : self._begins[position + 1]]


def sample_trace(
    folder: Path,
    sampler: NeighborSampler,
    epochs: Epochs,
    threads: int,
    tick: Callable[[float, int], None],
    checkpoint_bytes: int = _CHECKPOINT_BYTES,
) -> None:
    """Sample all minibatches into `folder`, going on where an earlier call was stopped.

    tick: called with the fraction that is done and the bytes that it takes; may raise to stop.
    Raises InvalidArgument for seeds that the graph does not have, CorruptFile, StorageFailure.
    """
    records, ends = _opened(folder / _RECORDS), _opened(folder / _ENDS)
    try:
        num_done, num_bytes = _note(folder)
        saved = num_bytes
        for epoch, first, positions in epochs.runs(num_done, 2 * threads):
            drawn = sampler.draw(epochs.batches.seeds, positions, epoch=epoch, first_batch=first, threads=threads)
            while drawn:  # emptied, so that none is kept while the next ones are drawn
                record = native.write_record(drawn.pop(0), [])
                os_calls.write_at(records, folder / _RECORDS, record, num_bytes)
                num_bytes += len(record)
                os_calls.write_at(ends, folder / _ENDS, np.array([num_bytes], np.int64), 8 * num_done)
                num_done += 1
            if num_bytes - saved >= checkpoint_bytes or num_done == len(epochs):
                _checkpoint(folder, records, ends, num_done, num_bytes)
                saved = num_bytes
            tick(num_done / len(epochs), num_bytes)
        os.ftruncate(records, num_bytes)
        os.ftruncate(ends, 8 * num_done)
    finally:
        os.close(records)
        os.close(ends)


def forget_trace(folder: Path) -> None:
    """Remove a trace."""
    for name in (_NOTE, _RECORDS, _ENDS):
        os_calls.remove(folder / name)


def _opened(path: Path) -> int:
    return os_calls.reopen(path, path.stat().st_size) if path.exists() else os_calls.create(path)


def _note(folder: Path) -> tuple[int, int]:
    path = folder / _NOTE
    if not path.exists():
        return 0, 0
    fields = json.loads(path.read_text())
    return fields["minibatches"], fields["bytes"]


def _checkpoint(folder: Path, records: int, ends: int, num_done: int, num_bytes: int) -> None:
    os_calls.sync_data(records, folder / _RECORDS)
    os_calls.sync_data(ends, folder / _ENDS)
    write_atomically(folder / _NOTE, json.dumps({"minibatches": num_done, "bytes": num_bytes}).encode())
