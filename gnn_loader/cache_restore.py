"""What does the cache hold in the middle of a plan? Found from the records before, filled from the log."""

from collections.abc import Sequence

import numpy as np

from outcrop import native
from outcrop.gnn_loader.format import unpack
from outcrop.stop import Stop, check
from outcrop.store import StoredFile
from outcrop.types import AnyArray, Int64Array, UInt32Array

_LOAD_BYTES = 8 << 20


def restore_caches(
    slabs: list[native.RowSlab],
    pinned: Sequence[tuple[int, int]],
    records: StoredFile,
    logs: list[StoredFile],
    offsets: Int64Array,
    stop: Stop | None = None,
) -> None:
    """Fill slabs with what they hold behind a plan's first records, of minibatches that nobody has loaded.

    offsets: int64 [num_records + 1], where those records begin and the last one ends. slabs, logs: by stream, as
    pinned: how many rows are in the first slots from the beginning, and where they lie in the log. Every row that
    entered a cache came by the log, so the feature tables are not needed. Raises CorruptFile, StorageFailure,
    and what `stop` raises.
    """
    places = [np.full(slab.num_slots, -1, np.int64) for slab in slabs]
    for slab, place, (count, begin) in zip(slabs, places, pinned, strict=True):
        place[:count] = begin + np.arange(count) * slab.row_bytes
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        check(stop)
        record = unpack(records.read(begin, end - begin), f"{records.path}: record at {begin}")
        for stream, slab, place in zip(record.streams, slabs, places, strict=True):
            place[stream.insert_slots] = _log_offsets(stream.moves, stream.insert_rows, slab.row_bytes)
    for slab, log, place in zip(slabs, logs, places, strict=True):
        filled = np.flatnonzero(place >= 0)
        in_order = filled[np.argsort(place[filled], kind="stable")]
        step = max(1, _LOAD_BYTES // slab.row_bytes)
        for start in range(0, len(in_order), step):
            _load(slab, log, in_order[start : start + step].astype(np.uint32), place, stop)


def _log_offsets(moves: AnyArray, rows: UInt32Array, row_bytes: int) -> Int64Array:
    """Where in the log missed rows of a minibatch lie: int64. moves: uint64 [segments, 3], misses, hits and offset."""
    moves = moves.astype(np.int64)
    base = np.concatenate(([0], np.cumsum(moves[:, 0] + moves[:, 1])))[:-1]
    segment = np.searchsorted(base, rows, side="right") - 1
    # Segments without rows begin where the next one does, and the last of those is found: it holds the row.
    offsets: Int64Array = moves[segment, 2] + (rows - base[segment]) * row_bytes
    return offsets


def _load(slab: native.RowSlab, log: StoredFile, slots: UInt32Array, places: Int64Array, stop: Stop | None) -> None:
    rows = np.empty((len(slots), slab.row_bytes), np.uint8)
    log.read_ranges(places[slots], np.full(len(slots), slab.row_bytes, np.int64), rows.reshape(-1), stop=stop)
    slab.store(slots, rows)
