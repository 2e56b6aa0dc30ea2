"""A minibatch that has travelled is the one that was sent, whatever it holds and however it was cut."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from outcrop.errors import OutcropError
from outcrop.proto import chunks
from outcrop.proto.chunks import parse_chunk
from outcrop.proto.minibatches import IncomingMinibatch, minibatch_messages
from outcrop.types import AnyArray, Minibatch, SampledLayer
from outcrop.v1.plan_pb2 import StreamMinibatchesResponse
from outcrop.v1.sampling_pb2 import MinibatchHeader

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int64", "bool", ">f4")
parse = parse_chunk(StreamMinibatchesResponse)


def random_minibatch(rng: np.random.Generator) -> Minibatch:
    """Any shapes and dtypes, empty ones too; the arrays need not make sense."""

    def array(dtype: str, *shape: int) -> AnyArray:
        return rng.integers(0, 2, shape).astype(dtype) if dtype == "bool" else rng.integers(0, 99, shape).astype(dtype)

    def layer(hop: int) -> SampledLayer:
        edges = array("uint64", 7) if rng.random() < 0.5 else None
        size = int(rng.integers(0, 2000))
        indptr, indices = array("uint32", size + 1), array("uint32", 7)
        return SampledLayer(hop, ("a", f"r{hop}", "b"), 3, 3 + size, indptr, indices, edges)

    types = [f"t{number}" for number in range(rng.integers(1, 4))]
    sizes = {name: int(rng.choice([0, 1, 5, 3000])) for name in types}
    return Minibatch(
        epoch=int(rng.integers(0, 2**63)),
        batch=int(rng.integers(0, 99)),
        nodes={name: array("uint32", size) for name, size in sizes.items()},
        hop_offsets={name: array("uint64", 4) for name in types},
        layers=tuple(layer(hop) for hop in range(rng.integers(0, 3))),
        seed_type=types[0],
        link_src_type=types[-1],
        seed_rows=array("uint32", 6),
        labels=array("float32", 3) if rng.random() < 0.5 else None,
        trees={name: array("uint32", size) for name, size in sizes.items()} if rng.random() < 0.5 else None,
        features={f"x.{name}": array(str(rng.choice(DTYPES)), size, 3, 2) for name, size in sizes.items()},
    )


def received(messages: list[bytes]) -> tuple[IncomingMinibatch, Minibatch]:
    incoming: IncomingMinibatch | None = None
    for message in messages:
        chunk = parse(message)
        incoming = incoming or IncomingMinibatch(chunk.head.header)
        incoming.take(chunk.data)
    assert incoming is not None
    assert incoming.is_whole
    return incoming, incoming.minibatch()


def check_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            check_equal(found[name], expected[name])
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype.newbyteorder("=")
        assert not found.flags.writeable
        assert not found.size or found.ctypes.data % min(64, found.itemsize * 16) == 0
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1000, 1 << 20])
def test_what_is_sent_arrives(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", chunk_bytes)
    for _ in range(3 if chunk_bytes == 1 else 30):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed = {seed}")
        sent = random_minibatch(np.random.default_rng(seed))

        messages = list(minibatch_messages(StreamMinibatchesResponse, sent, next_position=seed))
        incoming, found = received(messages)

        assert incoming.next_position == seed
        assert all(len(parse(message).data) <= chunk_bytes for message in messages)
        for name in ("epoch", "batch", "nodes", "hop_offsets", "seed_type", "seed_rows", "labels", "trees", "features"):
            check_equal(getattr(found, name), getattr(sent, name))
        assert len(found.layers) == len(sent.layers)
        for layer, wanted in zip(found.layers, sent.layers, strict=True):
            assert (layer.hop, layer.edge_type, layer.dst_begin, layer.dst_end) == (
                wanted.hop,
                wanted.edge_type,
                wanted.dst_begin,
                wanted.dst_end,
            )
            for name in ("indptr", "indices", "edges"):
                check_equal(getattr(layer, name), getattr(wanted, name))


def test_it_is_plain_protobuf() -> None:
    sent = random_minibatch(np.random.default_rng(0))

    parsed = [
        StreamMinibatchesResponse.FromString(message)
        for message in minibatch_messages(StreamMinibatchesResponse, sent, 1)
    ]

    assert parsed[0].header.payload_bytes == sum(len(message.data) for message in parsed)


def damaged(change: Callable[[MinibatchHeader], object]) -> None:
    [message] = minibatch_messages(StreamMinibatchesResponse, random_minibatch(np.random.default_rng(3)), 1)
    chunk = parse(message)
    change(chunk.head.header)
    incoming = IncomingMinibatch(chunk.head.header)
    incoming.take(chunk.data)
    incoming.minibatch()


@pytest.mark.parametrize(
    "change",
    [
        lambda header: setattr(header, "payload_bytes", header.payload_bytes - 1),
        lambda header: setattr(header, "payload_bytes", 1 << 60),
        lambda header: setattr(header.seed_rows, "offset_bytes", header.payload_bytes),
        lambda header: setattr(header.seed_rows, "offset_bytes", (1 << 64) - 1),
        lambda header: header.seed_rows.shape.append(1 << 40),
        lambda header: header.seed_rows.shape.append(-1),
        lambda header: setattr(header.seed_rows, "dtype", 99),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(change: Callable[[MinibatchHeader], object]) -> None:
    with pytest.raises(OutcropError):
        damaged(change)
