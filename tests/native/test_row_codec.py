"""Coded rows of feature tables: the core decodes what NumPy encodes, to the same bits on every instruction set."""

from __future__ import annotations

import re

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.codecs import RowCodec, make_codec


def codec_of(name: str, dim: int) -> RowCodec:
    return make_codec(name, (dim,), np.dtype(np.float32), None)


@pytest.mark.parametrize("dim", [1, 3, 8, 16, 31, 128, 257])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8"])
def test_decoding_gives_the_bits_of_the_numpy_twin(name: str, dim: int, isa: str) -> None:
    rows = np.random.default_rng(dim).normal(scale=100, size=(50, dim)).astype(np.float32)
    rows[3], rows[4, :1] = 0, 1e-30
    codec = codec_of(name, dim)
    coded = codec.encode(rows)
    out = np.empty((50, dim), np.float32)

    native.decode_rows(name, coded, out, isa)

    assert out.tobytes() == codec.decode(coded).tobytes()


def test_rows_may_lie_apart_and_be_none() -> None:
    codec = codec_of("int8", 10)
    coded = codec.encode(np.random.default_rng(1).normal(size=(9, 10)).astype(np.float32))
    padded = np.zeros((9, 40), np.uint8)
    padded[:, :14] = coded
    out = np.empty((9, 10), np.float32)

    native.decode_rows("int8", padded[:, :14], out)

    np.testing.assert_array_equal(out, codec.decode(coded))
    native.decode_rows("int8", padded[:0, :14], out[:0])


@pytest.mark.parametrize(
    ("codec", "row_bytes", "out_shape", "message"),
    [
        ("raw", 8, (2, 2), "raw rows are not coded"),
        ("float64", 8, (2, 1), "expected raw, float16, bfloat16 or int8, found 'float64'"),
        ("float16", 7, (2, 3), "no row of it is 7 bytes long"),
        ("int8", 4, (2, 0), "no row of it is 4 bytes long"),
        ("float16", 8, (2, 5), "out: expected dimension 4, found 5"),
        ("float16", 8, (3, 4), "2 rows, and out has 3"),
    ],
)
def test_what_does_not_fit_is_refused(codec: str, row_bytes: int, out_shape: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        native.decode_rows(codec, np.zeros((2, row_bytes), np.uint8), np.empty(out_shape, np.float32))


def test_a_slab_keeps_rows_by_slot() -> None:
    slab = native.RowSlab(5, 3)
    rows = np.arange(9, dtype=np.uint8).reshape(3, 3)
    out = np.empty((4, 3), np.uint8)

    slab.store(np.array([4, 0, 2], np.uint32), rows)
    slab.fetch(np.array([2, 2, 4, 1], np.uint32), out)

    np.testing.assert_array_equal(out, [rows[2], rows[2], rows[0], [0, 0, 0]])
    for slots, found in ([[5, 0, 1], rows], [[0, 1], rows], [[0, 1, 2], rows[:, :2].copy()]):
        with pytest.raises(InvalidArgument, match="row slab: "):
            slab.store(np.array(slots, np.uint32), found)


def test_an_assembler_fits_its_slab() -> None:
    with pytest.raises(InvalidArgument, match="raw rows are not decoded"):
        native.Assembler(native.RowSlab(5, 8), "raw", True)
    with pytest.raises(InvalidArgument, match="no row of it is 3 bytes long"):
        native.Assembler(native.RowSlab(5, 3), "bfloat16")
    with pytest.raises(InvalidArgument, match="at least one thread"):
        native.Assembler(native.RowSlab(5, 8), "raw", num_threads=0)
