"""The layout of a minibatch's record: header, tables of counts, arrays. The page is docs/formats/plan.md."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from outcrop.errors import CorruptFile
from outcrop.types import AnyArray, Float32Array, UInt8Array, UInt32Array

UInt64Array = npt.NDArray[np.uint64]

MAGIC = b"MNBATCH1"
ALIGNMENT = 4096
# record_bytes, epoch, batch, num_types, num_layers, num_streams, seed_type, link_src_type, num_seed_rows, num_labels
_HEADER = struct.Struct("<8s10Q40s")
_TYPE = struct.Struct("<4Q")
_LAYER = struct.Struct("<6I2Q")
_STREAM = struct.Struct("<4Q")


@dataclass(frozen=True, slots=True)
class LayerArrays:
    """One sampled layer, types by number. edges: uint64 [num_edges], empty where they were not kept."""

    edge_type: int
    src_type: int
    dst_type: int
    hop: int
    dst_begin: int
    dst_end: int
    indptr: UInt32Array
    indices: UInt32Array
    edges: UInt64Array


@dataclass(frozen=True, slots=True)
class StreamArrays:
    """Where the rows of one node type come from. moves: uint64 [num_hops + 1, 3], misses, hits and log offset of each
    hop segment."""

    type: int
    moves: UInt64Array
    hit_slots: UInt32Array
    insert_rows: UInt32Array
    insert_slots: UInt32Array


@dataclass(frozen=True, slots=True)
class MinibatchRecord:
    """Views of one record. nodes, hop_offsets, trees: by type; trees are empty unless sampling was disjoint."""

    epoch: int
    batch: int
    seed_type: int
    link_src_type: int
    nodes: tuple[UInt32Array, ...]
    hop_offsets: tuple[UInt64Array, ...]
    trees: tuple[UInt32Array, ...]
    layers: tuple[LayerArrays, ...]
    streams: tuple[StreamArrays, ...]
    seed_rows: UInt32Array
    labels: Float32Array


class _Cursor:
    """Hands out arrays one behind the other; a count from disk never leads outside."""

    def __init__(self, data: UInt8Array, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def array(self, count: int, dtype: str) -> AnyArray:
        size = count * np.dtype(dtype).itemsize
        if size > len(self.data) - self.at:
            raise CorruptFile(f"{self.name}: expected {size} bytes at {self.at}, found {len(self.data) - self.at}")
        values = self.data[self.at : self.at + size].view(dtype)
        self.at = min(len(self.data), self.at + -(-size // 8) * 8)
        return values

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.array(layout.size, "u1").tobytes())


def unpack(record: UInt8Array, name: str) -> MinibatchRecord:
    """Return views of a record, uint8 and 8-byte aligned; it is called `name` in errors.

    Values inside the arrays are as they lie there: `native.check_record` bounds them. Raises CorruptFile.
    """
    head = _Cursor(record, name)
    magic, size, epoch, batch, *counts, reserved = _HEADER.unpack(head.array(_HEADER.size, "u1").tobytes())
    num_types, num_layers, num_streams, seed_type, link_src_type, num_seed_rows, num_labels = counts
    if magic != MAGIC or any(reserved) or not _HEADER.size <= size <= len(record):
        raise CorruptFile(f"{name}: no whole record of a minibatch begins here")
    cursor = _Cursor(record[:size], name)
    cursor.at = _HEADER.size
    most = size // _TYPE.size  # entries that could fit: a damaged count must not make a list of billions
    if max(num_types, num_layers, num_streams) > most:
        raise CorruptFile(f"{name}: expected at most {most} entries in a table, found {counts[:3]}")
    type_entries = [cursor.fields(_TYPE) for _ in range(num_types)]
    layer_entries = [cursor.fields(_LAYER) for _ in range(num_layers)]
    stream_entries = [cursor.fields(_STREAM) for _ in range(num_streams)]
    types = [
        [cursor.array(count, dtype) for count, dtype in zip(e, ("u4", "u8", "u4"), strict=False)] for e in type_entries
    ]
    layers = tuple(_layer(cursor, entry) for entry in layer_entries)
    streams = tuple(_stream(cursor, entry) for entry in stream_entries)
    seed_rows, labels = cursor.array(num_seed_rows, "u4"), cursor.array(num_labels, "f4")
    if cursor.at != size:
        raise CorruptFile(f"{name}: expected a record of {cursor.at} bytes, found {size}")
    nodes, hop_offsets, trees = zip(*types, strict=True) if types else ((), (), ())
    return MinibatchRecord(
        epoch, batch, seed_type, link_src_type, nodes, hop_offsets, trees, layers, streams, seed_rows, labels
    )


def _layer(cursor: _Cursor, entry: tuple[int, ...]) -> LayerArrays:
    edge_type, src_type, dst_type, hop, dst_begin, dst_end, num_indices, num_edges = entry
    if dst_end < dst_begin:
        raise CorruptFile(f"{cursor.name}: a layer ends before it begins")
    indptr, indices = cursor.array(dst_end - dst_begin + 1, "u4"), cursor.array(num_indices, "u4")
    edges = cursor.array(num_edges, "u8")
    return LayerArrays(edge_type, src_type, dst_type, hop, dst_begin, dst_end, indptr, indices, edges)


def _stream(cursor: _Cursor, entry: tuple[int, ...]) -> StreamArrays:
    node_type, num_segments, num_hits, num_inserts = entry
    moves = cursor.array(3 * num_segments, "u8").reshape(-1, 3)
    hit_slots = cursor.array(num_hits, "u4")
    return StreamArrays(node_type, moves, hit_slots, cursor.array(num_inserts, "u4"), cursor.array(num_inserts, "u4"))
