"""Large input on its way: what the server has of it, and the messages that carry the rest."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from outcrop.client.rpc import Rpc
from outcrop.proto.chunks import CHUNK_BYTES, Chunk, bytes_of
from outcrop.proto.tensors import numpy_dtype, wire_dtype
from outcrop.types import AnyArray
from outcrop.v1 import upload_pb2 as pb


@dataclass(frozen=True, slots=True)
class Received:
    """How much of an array the server has, durably."""

    row_bytes: int
    size_bytes: int


def get(upload_id: str) -> Rpc[Mapping[str, Received]]:
    """Ask what there is of an upload, by array."""
    return Rpc(pb.GetUploadRequest(upload_id=upload_id), lambda response: received(response.arrays))


def delete(upload_id: str) -> Rpc[None]:
    """Remove an upload."""
    return Rpc(pb.DeleteUploadRequest(upload_id=upload_id), lambda _: None)


def received(arrays: Sequence[pb.UploadedArray]) -> Mapping[str, Received]:
    """Return what a response says, by array."""
    found = {}
    for array in arrays:
        row_bytes = row_size(array.row_shape, numpy_dtype(array.dtype))
        found[array.array] = Received(row_bytes, array.num_rows * row_bytes + array.partial_bytes)
    return found


def chunks(upload_id: str, array: str, rows: AnyArray, start_row: int) -> Iterator[Chunk[pb.UploadRequest]]:
    """Yield rows [start_row, start_row + n) of an array of an upload: whole rows of up to 1 MiB together, or pieces of
    longer ones. They are views of the rows. Of no rows one chunk, which tells what they would be."""
    number = wire_dtype(rows.dtype)
    data = bytes_of(np.ascontiguousarray(rows, numpy_dtype(number)))
    row_bytes = row_size(rows.shape[1:], rows.dtype)
    whole_rows = max(1, CHUNK_BYTES // row_bytes) * row_bytes
    for begin in range(0, max(1, len(data)), whole_rows):
        end = min(begin + whole_rows, len(data))
        for start in range(begin, max(end, begin + 1), CHUNK_BYTES):
            row, byte = divmod(start, row_bytes)
            head = pb.UploadRequest(
                upload_id=upload_id,
                array=array,
                dtype=number,
                row_shape=rows.shape[1:],
                start_row=start_row + row,
                start_byte=byte,
            )
            yield Chunk(head, data[start : min(start + CHUNK_BYTES, end)])


def row_size(row_shape: Sequence[int], dtype: "np.dtype[np.generic]") -> int:
    """Return the bytes of one row."""
    return math.prod(row_shape) * dtype.itemsize


def begin_of(chunk: Chunk[pb.UploadRequest]) -> int:
    """Return where a chunk begins, in bytes of its array."""
    head = chunk.head
    return head.start_row * row_size(head.row_shape, numpy_dtype(head.dtype)) + head.start_byte
