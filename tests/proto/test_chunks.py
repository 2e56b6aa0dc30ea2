"""Chunks are ordinary protobuf, written and read without its copies."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from outcrop.proto.chunks import (
    CHUNK_BYTES,
    Chunk,
    blank_message,
    bytes_of,
    chunk_ranges,
    has_data,
    parse_chunk,
    serialize_chunk,
)
from outcrop.v1.feature_pb2 import FeatureStreamHeader, StreamFeaturesResponse
from outcrop.v1.vector_pb2 import SearchRequest

HEAD = StreamFeaturesResponse(header=FeatureStreamHeader(version=7, shape=[300, 4]))


@pytest.mark.parametrize("num_bytes", [0, 1, 127, 128, 16_384, CHUNK_BYTES])
@pytest.mark.parametrize("head", [HEAD, StreamFeaturesResponse()])
def test_a_chunk_is_what_protobuf_writes(head: StreamFeaturesResponse, num_bytes: int) -> None:
    data = np.random.default_rng(1).bytes(num_bytes)
    whole = StreamFeaturesResponse(header=head.header if head.HasField("header") else None, data=data)

    written = serialize_chunk(Chunk(head, memoryview(data)))

    assert written == whole.SerializeToString()
    chunk = parse_chunk(StreamFeaturesResponse)(written)
    assert chunk.head == head
    assert chunk.data == data


def test_data_before_other_fields_are_read_too() -> None:
    data_first = StreamFeaturesResponse(data=b"xyz").SerializeToString() + HEAD.SerializeToString()

    chunk = parse_chunk(StreamFeaturesResponse)(data_first)

    assert chunk.head == HEAD
    assert chunk.data == b"xyz"


def test_data_of_a_chunk_are_a_view_of_what_was_received() -> None:
    received = serialize_chunk(Chunk(HEAD, memoryview(b"abc")))

    assert parse_chunk(StreamFeaturesResponse)(received).data.obj is received


@pytest.mark.parametrize("cut", range(1, len(serialize_chunk(Chunk(HEAD, memoryview(b"abcdef"))))))
def test_a_chunk_that_was_cut_is_refused_or_shorter(cut: int) -> None:
    received = serialize_chunk(Chunk(HEAD, memoryview(b"abcdef")))[:cut]

    try:
        chunk = parse_chunk(StreamFeaturesResponse)(received)
    except DecodeError:
        return
    assert chunk.data == b""


@pytest.mark.parametrize("seed", range(200))
def test_random_bytes_are_refused_or_read_as_protobuf_reads_them(seed: int) -> None:
    print(f"seed {seed}")
    received = np.random.default_rng(seed).bytes(seed % 40)
    try:
        whole = StreamFeaturesResponse.FromString(received)
    except DecodeError:
        whole = None

    try:
        chunk = parse_chunk(StreamFeaturesResponse)(received)
    except DecodeError:
        assert whole is None
        return

    assert whole is not None
    assert chunk.data == whole.data


def test_only_messages_with_a_field_data_are_chunks() -> None:
    assert has_data(StreamFeaturesResponse)
    assert not has_data(SearchRequest)


def test_ranges_cover_all_bytes_once() -> None:
    ranges = list(chunk_ranges(2 * CHUNK_BYTES + 5))

    assert ranges == [(0, CHUNK_BYTES), (CHUNK_BYTES, 2 * CHUNK_BYTES), (2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5)]
    assert list(chunk_ranges(0)) == [(0, 0)]


def test_bytes_of_an_array_are_not_copied() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)

    assert bytes_of(rows).tobytes() == rows.tobytes()
    assert np.shares_memory(np.frombuffer(bytes_of(rows), np.uint8), rows)
    assert bytes_of(np.empty((0, 4), np.float32)).nbytes == 0


@pytest.mark.parametrize("num_bytes", [0, 1, 127, 128, 16_384, CHUNK_BYTES])
def test_a_blank_message_that_is_filled_is_what_protobuf_writes(num_bytes: int) -> None:
    written = np.random.default_rng(num_bytes).integers(0, 256, num_bytes, dtype=np.uint8)

    message, data = blank_message(HEAD, num_bytes)
    data[:] = written

    assert message == StreamFeaturesResponse(header=HEAD.header, data=written.tobytes()).SerializeToString()
    assert type(message) is bytes
