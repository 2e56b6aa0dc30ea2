"""What each codec keeps of a row, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from outcrop import native
from outcrop.errors import InvalidArgument, UnsupportedFormat
from outcrop.gnn_loader.codecs import RowCodec, as_float32, make_codec

F32 = np.dtype(np.float32)
ROWS = nps.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    elements=st.floats(width=32, min_value=-65504, max_value=65504),
)
LARGE = nps.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def codec_of(name, rows, logical_dtype=None):
    return make_codec(name, rows.shape[1:], rows.dtype, logical_dtype)


@pytest.mark.parametrize("dtype", ["bool", "u1", "<i2", "<u4", "<i8", "<f2", "<f4", "<f8", "<c8"])
@pytest.mark.parametrize("row_shape", [(), (1,), (3,), (2, 5)])
def test_raw_keeps_every_bit_of_any_dtype_and_shape(dtype, row_shape, seed):
    bits = np.random.default_rng(seed).integers(0, 256, (7, *row_shape, np.dtype(dtype).itemsize), np.uint8)
    rows = (bits & 1 if dtype == "bool" else bits).view(dtype)[..., 0]
    codec = codec_of("raw", rows)

    coded = codec.encode(rows)

    assert coded.shape == (7, codec.row_bytes)
    assert codec.decode(coded).tobytes() == rows.tobytes()
    assert codec.decode(coded).shape == rows.shape
    assert codec.dtype == rows.dtype


def test_big_endian_rows_are_stored_little_endian():
    rows = np.array([[1.5, -2]], ">f4")
    codec = codec_of("raw", rows)

    assert codec.encode(rows).tobytes() == rows.astype("<f4").tobytes()
    assert codec.logical_dtype == "float32"


def test_bfloat16_bits_are_kept_raw_or_mean_numbers():
    bits = np.array([[0x3F80, 0xC000]], np.uint16)
    kept, meant = codec_of("raw", bits, "bfloat16"), codec_of("bfloat16", bits, "bfloat16")

    assert (kept.dtype, kept.logical_dtype, kept.row_bytes) == (np.uint16, "bfloat16", 4)
    assert kept.decode(kept.encode(bits, 0, "bfloat16")).tolist() == bits.tolist()
    assert meant.decode(meant.encode(bits, 0, "bfloat16")).tolist() == [[1.0, -2.0]]


@given(ROWS)
def test_float16_is_the_nearest_half(rows):
    codec = codec_of("float16", rows)

    found = codec.decode(codec.encode(rows))

    assert found.dtype == F32
    assert np.array_equal(found, rows.astype(np.float16).astype(np.float32))


@given(LARGE.filter(lambda rows: (np.abs(rows) < 3e38).all()))
def test_bfloat16_is_off_by_half_of_its_last_bit_at_most(rows):
    codec = codec_of("bfloat16", rows)

    found = codec.decode(codec.encode(rows)).astype(np.float64)

    _, exponents = np.frexp(rows.astype(np.float64))
    assert (np.abs(found - rows) <= np.ldexp(0.5, np.maximum(exponents, -125) - 8)).all()


def test_bfloat16_rounds_ties_to_even():
    rows = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF]], np.uint32).view(np.float32)

    assert codec_of("bfloat16", rows).encode(rows).view(np.uint16).tolist() == [[0x3F80, 0x3F82, 0x3F81, 0x3F80]]


@given(LARGE)
def test_int8_is_off_by_half_a_step_of_its_row_at_most(rows):
    codec = codec_of("int8", rows)

    coded = codec.encode(rows)
    found = codec.decode(coded).astype(np.float64)

    scales = coded[:, rows.shape[1] :].copy().view("<f4").astype(np.float64)
    assert codec.row_bytes == rows.shape[1] + 4
    assert np.isfinite(found).all()
    largest = np.abs(rows.astype(np.float64)).max(axis=1, keepdims=True)
    assert (scales <= largest / 127 * (1 + 1e-6) + 1.5e-45).all()
    assert (np.abs(found - rows) <= np.maximum(scales, 1.8e-43) * 0.5001 + largest * 1e-6).all()


def test_int8_keeps_the_ends_of_each_row_and_zeros():
    rows = np.array([[127, -127, 1, 0], [0, 0, 0, 0], [-0.5, 0.25, 0, 0]], np.float32)
    codec = codec_of("int8", rows)

    coded = codec.encode(rows)

    assert coded[:, :4].view(np.int8).tolist() == [[127, -127, 1, 0], [0, 0, 0, 0], [-127, 64, 0, 0]]
    assert coded[1].tolist() == [0] * 8
    assert codec.decode(coded)[0].tolist() == [127, -127, 1, 0]


def test_numbers_of_other_types_are_taken_as_float32():
    for rows in (np.array([[1, 2]], np.int64), np.array([[1, 2]], np.float64), np.array([[1, 2]], np.float16)):
        codec = codec_of("int8", rows)
        assert codec.decode(codec.encode(rows)).tolist() == [[pytest.approx(1, abs=0.01), 2.0]]
    assert codec_of("float32", np.ones((1, 2), np.float64)) == RowCodec("raw", (2,), F32, "float32")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("float16", np.nan, "row 101: item 2: expected a number within float32's range, found nan"),
        ("int8", np.inf, "row 101: item 2: expected a number within float32's range, found inf"),
        ("bfloat16", -np.inf, "row 101: item 2"),
        ("float16", 70000.0, r"row 101: item 2: expected a number within \+-65504 for float16, found 70000.0"),
        ("bfloat16", 3.4e38, "row 101: item 2: expected a number within bfloat16's range"),
        ("int8", 1e300, "row 101: item 2: expected a number within float32's range, found 1e[+]300"),
        ("float32", 1e300, "row 101: item 2"),
    ],
)
def test_what_a_lossy_codec_cannot_hold_is_refused_by_row(name, value, message):
    rows = np.zeros((3, 4), np.float64)
    rows[1, 2] = value
    with pytest.raises(InvalidArgument, match=message):
        codec_of(name, rows).encode(rows, 100)


def test_float32_keeps_nan_and_infinity_of_wider_numbers():
    rows = np.array([[np.nan, np.inf]], np.float64)
    codec = codec_of("float32", rows)

    assert np.array_equal(codec.decode(codec.encode(rows)), rows, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "row_shape", "dtype", "logical", "message"),
    [
        ("zip", (2,), "f4", None, "codec: expected raw, float32, float16, bfloat16, int8; found 'zip'"),
        ("int8", (2,), "bool", None, "found dtype bool"),
        ("float16", (2,), "c8", None, "found dtype complex64"),
        ("raw", (2,), "U3", None, "takes numbers"),
        ("raw", (2,), "g", None, "takes numbers"),
        ("raw", (2, 0), "f4", None, r"found the shape \[2, 0\]"),
        ("raw", (2,), "f4", "bfloat16", "expected the logical dtype float32, found 'bfloat16'"),
    ],
)
def test_codecs_refuse(name, row_shape, dtype, logical, message):
    with pytest.raises(InvalidArgument, match=message):
        make_codec(name, row_shape, np.dtype(dtype), logical)


@pytest.mark.parametrize("name", ["raw", "float16", "bfloat16", "int8"])
def test_codecs_survive_a_manifest(name):
    codec = make_codec(name, (3, 2), F32, None)

    assert RowCodec.from_json(codec.to_json()) == codec
    with pytest.raises(UnsupportedFormat, match="row codec 'pq8'"):
        RowCodec.from_json(codec.to_json() | {"codec": "pq8"})


def test_no_rows_are_no_bytes():
    codec = make_codec("int8", (3,), F32, None)

    assert codec.decode(codec.encode(np.empty((0, 3), np.float32))).shape == (0, 3)


def test_as_float32_widens_bfloat16():
    assert as_float32(np.array([0x3F80, 0x7F80], np.uint16), "bfloat16").tolist() == [1.0, np.inf]


@given(LARGE, st.sampled_from(["float16", "bfloat16", "int8"]))
def test_the_core_decodes_to_the_same_bits(rows, name):
    rows = np.clip(rows, -65504, 65504)
    codec = codec_of(name, rows)
    coded = codec.encode(rows)
    out = np.empty_like(rows)

    native.decode_rows(name, coded, out)

    assert out.tobytes() == codec.decode(coded).tobytes()
