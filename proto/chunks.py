"""Long arrays in chunks: messages whose last field is `bytes data = 15`, written and read without protobuf's copies.

What travels is ordinary protobuf, so every other language reads it with its own library.
"""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from outcrop.types import AnyArray, UInt8Array

# Of 64 KiB to 4 MiB the fastest through grpcio.
CHUNK_BYTES = 1 << 20

_DATA_FIELD = 15
_TAG = bytes([_DATA_FIELD << 3 | 2])

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (ctypes.c_char_p, ctypes.c_ssize_t)
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.restype, _address_of.argtypes = ctypes.c_void_p, (ctypes.py_object,)

Head = TypeVar("Head", bound=Message)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Head]):
    """A message in two parts. head: all fields but `data`. data: the bytes of `data`."""

    head: Head
    data: memoryview


def has_data(message: type[Message]) -> bool:
    """Whether a message is one that `serialize_chunk` and `parse_chunk` are for."""
    field = message.DESCRIPTOR.fields_by_number.get(_DATA_FIELD)
    return field is not None and field.name == "data" and field.type == field.TYPE_BYTES


def serialize_chunk(chunk: "Chunk[Head] | Message | bytes") -> bytes:
    """Return what protobuf would write for the head with `data` set, copying the data once; bytes are done already."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, Message):
        return chunk.SerializeToString()
    return serialize_parts(chunk.head, (chunk.data,))


def serialize_parts(head: Message, parts: Sequence[memoryview]) -> bytes:
    """Return what protobuf would write for the head with the parts, joined, as its `data`; each is copied once."""
    num_bytes = sum(part.nbytes for part in parts)
    if not num_bytes:
        return head.SerializeToString()
    return b"".join((head.SerializeToString(), _TAG, _varint(num_bytes), *parts))


def blank_message(head: Message, num_bytes: int) -> tuple[bytes, UInt8Array]:
    """Return what protobuf would write for the head with `data` of so many bytes, and those bytes, to be written.

    Whoever fills them, before anybody else sees the message, saves the copy of `serialize_parts`. The array is good as
    long as the message is held.
    """
    prefix = head.SerializeToString()
    prefix += _TAG + _varint(num_bytes) if num_bytes else b""
    # What PyBytes_FromStringAndSize(NULL, size) returns may be written to until it is given away.
    message: bytes = _new_bytes(None, len(prefix) + num_bytes)
    address: int = _address_of(message)
    ctypes.memmove(address, prefix, len(prefix))
    data = np.frombuffer(memoryview((ctypes.c_uint8 * num_bytes).from_address(address + len(prefix))), np.uint8)
    return message, data


def parse_chunk(message: type[Head]) -> Callable[[bytes], Chunk[Head]]:
    """Return a parser whose chunks are views of what was received. It raises DecodeError, as protobuf does."""

    def parse(received: bytes) -> Chunk[Head]:
        begin, start = _find_data(received)
        if begin is None:
            whole = message.FromString(received)
            data = memoryview(getattr(whole, "data"))  # noqa: B009  not a field of every Message
            whole.ClearField("data")
            return Chunk(whole, data)
        return Chunk(message.FromString(received[:begin]), memoryview(received)[start:])

    return parse


def chunk_ranges(num_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the chunks of a run of bytes; one empty range for no bytes."""
    for start in range(0, max(num_bytes, 1), CHUNK_BYTES):
        yield start, min(start + CHUNK_BYTES, num_bytes)


def bytes_of(array: AnyArray) -> memoryview:
    """Return the bytes of a C-contiguous array, not copied."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _find_data(received: bytes) -> tuple[int | None, int]:
    """Where field 15 begins and where its bytes do, if it is the last field and reaches to the end; else (None, 0)."""
    place = 0
    while place < len(received):
        begin = place
        tag, place = _read_varint(received, place)
        wire_type = tag & 7
        if wire_type == 2:
            length, place = _read_varint(received, place)
            if tag >> 3 == _DATA_FIELD:
                return (begin, place) if place + length == len(received) else (None, 0)
            place += length
        elif wire_type == 0:
            _, place = _read_varint(received, place)
        elif wire_type in (1, 5):
            place += 8 if wire_type == 1 else 4
        else:
            return None, 0
    return None, 0


def _read_varint(received: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(received) and shift < 64:
        byte = received[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise DecodeError("a varint that does not end")
