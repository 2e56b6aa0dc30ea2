"""A minibatch on the wire: a header that says where each array lies in a payload, and the payload in chunks.

for message in minibatch_messages(StreamMinibatchesResponse, minibatch, next_position=8): ...   # bytes to send
incoming = IncomingMinibatch(header)                                                            # at the other end
incoming.take(chunk.data)
incoming.minibatch()
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message

from outcrop.errors import OutcropError
from outcrop.proto.chunks import bytes_of, chunk_ranges, serialize_parts
from outcrop.proto.sampling import from_edge_type, to_edge_type
from outcrop.proto.tensors import numpy_dtype, wire_dtype
from outcrop.types import AnyArray, Minibatch, SampledLayer
from outcrop.v1.sampling_pb2 import (
    MinibatchFeatures,
    MinibatchHeader,
    MinibatchLayer,
    MinibatchNodes,
)
from outcrop.v1.tensor_pb2 import TensorPlace

_ALIGNMENT = 64
_ZEROS = memoryview(bytes(_ALIGNMENT))
# Larger than any minibatch that fits in memory: a header that says more is damaged.
_MOST_BYTES = 1 << 40


def minibatch_messages(
    response: type[Message], minibatch: Minibatch, next_position: int = 0, **fields: Message
) -> Iterator[bytes]:
    """Yield serialized messages of a class with `header` and `data`; arrays are copied once, into them.

    next_position: where to go on behind this one. fields: others of the first message.
    Raises InvalidArgument for features of a dtype that the wire has no word for.
    """
    payload = _Payload()
    header = _header(minibatch, payload)
    header.payload_bytes, header.next_position = payload.size_bytes, next_position
    head = response(header=header, **fields)
    for parts in payload.chunks():
        yield serialize_parts(head, parts)
        head = response()


class IncomingMinibatch:
    """A minibatch that comes in chunks. Its arrays are read-only views of one buffer, which lives as long as any."""

    def __init__(self, header: MinibatchHeader) -> None:
        """Make room for the payload. Raises OutcropError where the header contradicts itself."""
        if header.payload_bytes > _MOST_BYTES:
            raise OutcropError(f"minibatch: a payload of {header.payload_bytes} bytes was announced")
        self._header = header
        self._payload = _aligned(header.payload_bytes)
        self._filled = 0

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have come."""
        return self._filled == self._payload.size

    @property
    def size_bytes(self) -> int:
        """Of the payload."""
        return self._payload.size

    @property
    def next_position(self) -> int:
        """Where to go on behind it."""
        return self._header.next_position

    def take(self, data: memoryview) -> None:
        """Copy the next bytes. Raises OutcropError for more than were announced."""
        end = self._filled + data.nbytes
        if end > self._payload.size:
            raise OutcropError(f"minibatch: {end} bytes came, {self._payload.size} were announced")
        self._payload[self._filled : end] = data
        self._filled = end

    def minibatch(self) -> Minibatch:
        """Return it, when it is whole. Raises OutcropError for arrays outside the payload."""
        assert self.is_whole
        self._payload.flags.writeable = False
        header = self._header
        nodes = {each.node_type: each for each in header.nodes}
        has_trees = any(each.HasField("trees") for each in header.nodes)
        return Minibatch(
            epoch=header.epoch,
            batch=header.batch,
            nodes={name: self._array(each.ids) for name, each in nodes.items()},
            hop_offsets={name: self._array(each.hop_offsets) for name, each in nodes.items()},
            layers=tuple(self._layer(layer) for layer in header.layers),
            seed_type=header.seed_type,
            link_src_type=header.link_src_type,
            seed_rows=self._array(header.seed_rows),
            labels=self._array(header.labels) if header.HasField("labels") else None,
            trees={name: self._array(each.trees) for name, each in nodes.items()} if has_trees else None,
            features={each.table: self._array(each.rows) for each in header.features},
        )

    def _layer(self, layer: MinibatchLayer) -> SampledLayer:
        return SampledLayer(
            layer.hop,
            from_edge_type(layer.edge_type),
            layer.dst_begin,
            layer.dst_end,
            self._array(layer.indptr),
            self._array(layer.indices),
            self._array(layer.edges) if layer.HasField("edges") else None,
        )

    def _array(self, place: TensorPlace) -> AnyArray:
        dtype, shape = numpy_dtype(place.dtype), tuple(place.shape)
        end = place.offset_bytes + math.prod(shape) * dtype.itemsize
        if any(length < 0 for length in shape) or end > self._payload.size:
            raise OutcropError(f"minibatch: an array ends at byte {end} of {self._payload.size}")
        return self._payload[place.offset_bytes : end].view(dtype).reshape(shape)


class _Payload:
    """Arrays one behind the other, each at a multiple of 64 bytes."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._parts: list[memoryview] = []

    def add(self, array: AnyArray) -> TensorPlace:
        """Append an array and return its place."""
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        if gap := -self.size_bytes % _ALIGNMENT:
            self._parts.append(_ZEROS[:gap])
        place = TensorPlace(dtype=wire_dtype(array.dtype), shape=array.shape, offset_bytes=self.size_bytes + gap)
        self._parts.append(bytes_of(little))
        self.size_bytes += gap + little.nbytes
        return place

    def chunks(self) -> Iterator[list[memoryview]]:
        """Yield the bytes of each chunk in pieces; one empty chunk for no bytes."""
        parts = iter([part for part in self._parts if part.nbytes])
        part = memoryview(b"")
        for start, stop in chunk_ranges(self.size_bytes):
            pieces, missing = [], stop - start
            while missing:
                part = part if part.nbytes else next(parts)
                pieces.append(part[:missing])
                missing -= pieces[-1].nbytes
                part = part[pieces[-1].nbytes :]
            yield pieces


def _header(minibatch: Minibatch, payload: _Payload) -> MinibatchHeader:
    labels = minibatch.labels
    return MinibatchHeader(
        epoch=minibatch.epoch,
        batch=minibatch.batch,
        seed_type=minibatch.seed_type,
        link_src_type=minibatch.link_src_type,
        nodes=[_nodes(minibatch, name, payload) for name in minibatch.nodes],
        layers=_layers(minibatch.layers, payload),
        seed_rows=payload.add(minibatch.seed_rows),
        labels=None if labels is None else payload.add(labels),
        features=_features(minibatch.features, payload),
    )


def _nodes(minibatch: Minibatch, name: str, payload: _Payload) -> MinibatchNodes:
    return MinibatchNodes(
        node_type=name,
        ids=payload.add(minibatch.nodes[name]),
        hop_offsets=payload.add(minibatch.hop_offsets[name]),
        trees=None if minibatch.trees is None else payload.add(minibatch.trees[name]),
    )


def _layers(layers: Sequence[SampledLayer], payload: _Payload) -> list[MinibatchLayer]:
    return [
        MinibatchLayer(
            hop=layer.hop,
            edge_type=to_edge_type(layer.edge_type),
            dst_begin=layer.dst_begin,
            dst_end=layer.dst_end,
            indptr=payload.add(layer.indptr),
            indices=payload.add(layer.indices),
            edges=None if layer.edges is None else payload.add(layer.edges),
        )
        for layer in layers
    ]


def _features(features: Mapping[str, AnyArray], payload: _Payload) -> list[MinibatchFeatures]:
    return [MinibatchFeatures(table=table, rows=payload.add(rows)) for table, rows in features.items()]


def _aligned(size_bytes: int) -> "np.ndarray[tuple[int], np.dtype[Any]]":
    """Bytes that begin at a multiple of 64, as places in a payload do."""
    room = np.empty(size_bytes + _ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % _ALIGNMENT
    return room[begin : begin + size_bytes]
