"""How is a row of features stored? As it came, or in fewer bytes: the NumPy side of the row codecs.

A codec turns rows of one shape into `row_bytes` bytes each and back. The core decodes the same bytes while it gathers
(`native.decode_rows`); what it does is what `decode` does here. The bytes are in docs/formats/features.md.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument, UnsupportedFormat
from outcrop.types import AnyArray, Float32Array, UInt8Array

CODECS = ("raw", "float32", "float16", "bfloat16", "int8")
BFLOAT16 = "bfloat16"

_LARGEST_CODE = np.float32(127)


@dataclass(frozen=True, slots=True)
class RowCodec:
    """Rows of `row_shape`, stored as `name` says.

    name: `raw` keeps any dtype bit by bit; `float16`, `bfloat16` and `int8` (a scale per row) make fewer bytes of
    numbers and give float32 back. row_bytes: of one stored row. dtype: of the rows that `decode` returns.
    logical_dtype: what those mean, where NumPy has no word for it: "bfloat16" kept raw comes back as uint16.
    """

    name: str
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    logical_dtype: str

    @property
    def num_items(self) -> int:
        """Numbers in one row."""
        return prod(self.row_shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored row."""
        if self.name == "int8":
            return self.num_items + 4
        return self.num_items * (self.dtype.itemsize if self.name == "raw" else 2)

    def encode(self, rows: AnyArray, first_row: int = 0, logical_dtype: str | None = None) -> UInt8Array:
        """Return the stored bytes of rows [n, *row_shape], uint8 [n, row_bytes].

        logical_dtype: "bfloat16" when `rows` are bfloat16 as uint16. first_row: the number of the first, for messages.
        Raises InvalidArgument naming the first row that a lossy codec cannot hold: with NaN or infinity, or too large.
        """
        if self.name == "raw" and (logical_dtype or rows.dtype.name) == self.logical_dtype:
            return _bytes(rows.astype(self.dtype, copy=False), len(rows))
        values = as_float32(rows, logical_dtype).reshape(len(rows), self.num_items)
        given = rows.reshape(values.shape)
        if self.name == "raw":
            if rows.dtype == np.float64:
                _check_finite(
                    np.where(np.isfinite(given), values, 0), given, first_row, "a number within float32's range"
                )
            return _bytes(values, len(rows))
        _check_finite(values, given, first_row, "a number within float32's range")
        encode = {"float16": _encode_float16, BFLOAT16: _encode_bfloat16, "int8": _encode_int8}[self.name]
        return encode(values, first_row)

    def decode(self, coded: UInt8Array, out: AnyArray | None = None) -> AnyArray:
        """Return the rows of stored bytes uint8 [n, row_bytes], an array [n, *row_shape] of `dtype`.

        out: C-contiguous, of that shape and dtype, to be filled and returned; it may not overlap `coded`.
        """
        num_rows = len(coded)
        out = np.empty((num_rows, *self.row_shape), self.dtype) if out is None else out
        assert out.shape == (num_rows, *self.row_shape)
        assert out.dtype == self.dtype
        assert out.flags.c_contiguous
        flat = out.reshape(num_rows, self.num_items)
        if self.name == "raw":
            _bytes(flat, num_rows)[...] = coded
        elif self.name == "float16":
            flat[...] = _view(coded, np.float16, self.num_items)
        elif self.name == BFLOAT16:
            np.left_shift(_view(coded, np.uint16, self.num_items), 16, out=flat.view(np.uint32), dtype=np.uint32)
        else:
            scales = np.ascontiguousarray(coded[:, self.num_items :]).view("<f4")
            np.multiply(coded[:, : self.num_items].view(np.int8), scales, out=flat, dtype=np.float32)
        return out

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return {
            "codec": self.name,
            "row_shape": list(self.row_shape),
            "row_bytes": self.row_bytes,
            "dtype": self.dtype.name,
            "logical_dtype": self.logical_dtype,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "RowCodec":
        """The inverse of `to_json`. Raises UnsupportedFormat for a codec of another release."""
        if fields["codec"] not in CODECS:
            raise UnsupportedFormat(f"row codec {fields['codec']!r}; this release reads {', '.join(CODECS)}")
        codec = cls(fields["codec"], tuple(fields["row_shape"]), np.dtype(fields["dtype"]), fields["logical_dtype"])
        assert codec.row_bytes == fields["row_bytes"]
        return codec


def make_codec(name: str, row_shape: tuple[int, ...], dtype: np.dtype[Any], logical_dtype: str | None) -> RowCodec:
    """Return the codec `name`, one of CODECS, for rows of a source; `float32` stores float32 whatever the source has.

    Raises InvalidArgument for an unknown codec, an empty row, and a dtype that the codec cannot take.
    """
    if name not in CODECS:
        raise InvalidArgument(f"codec: expected {', '.join(CODECS)}; found {name!r}")
    if logical_dtype not in (None, BFLOAT16, dtype.name) or (logical_dtype == BFLOAT16 and dtype != np.uint16):
        raise InvalidArgument(f"rows of dtype {dtype}: expected the logical dtype {dtype}, found {logical_dtype!r}")
    kinds = "biufc" if name == "raw" else "iuf"
    if dtype.kind not in kinds or dtype.name in ("longdouble", "clongdouble", "float128", "complex256"):
        what = "numbers" if name == "raw" else "integers or floating-point numbers"
        raise InvalidArgument(f"rows: the codec {name} takes {what}, found dtype {dtype}")
    if prod(row_shape) < 1:
        raise InvalidArgument(f"rows: expected at least one number in each, found the shape {list(row_shape)}")
    if name == "raw":
        return RowCodec(name, row_shape, dtype.newbyteorder("="), logical_dtype or dtype.name)
    return RowCodec("raw" if name == "float32" else name, row_shape, np.dtype(np.float32), "float32")


def as_float32(rows: AnyArray, logical_dtype: str | None = None) -> Float32Array:
    """Return numbers as float32; what is too large for it becomes infinite."""
    if logical_dtype == BFLOAT16:
        widened: Float32Array = (rows.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return widened
    with np.errstate(over="ignore"):
        converted: Float32Array = rows.astype(np.float32, copy=False)
    return converted


def _encode_float16(values: Float32Array, first_row: int) -> UInt8Array:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    _check_finite(halves, values, first_row, "a number within +-65504 for float16")
    return _bytes(halves, len(values))


def _encode_bfloat16(values: Float32Array, first_row: int) -> UInt8Array:
    """Round to the nearest, ties to even: what is cut off is less than, equal to or more than half of the last bit."""
    bits = values.view(np.uint32)
    upper = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    _check_finite(as_float32(upper, BFLOAT16), values, first_row, "a number within bfloat16's range")
    return _bytes(upper, len(values))


def _encode_int8(values: Float32Array, first_row: int) -> UInt8Array:
    num_rows, dim = values.shape
    out = np.empty((num_rows, dim + 4), np.uint8)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scales = np.abs(values).max(axis=1, keepdims=True) / _LARGEST_CODE
        scales = np.where(np.isinf(scales * _LARGEST_CODE), np.nextafter(scales, np.float32(0)), scales)
        codes = np.rint(values / scales)
    codes[scales[:, 0] == 0] = 0  # all zero, or so small that 1/127 of it is no number
    out[:, :dim] = np.clip(codes, -127, 127).astype(np.int8).view(np.uint8)
    out[:, dim:] = scales.astype("<f4").view(np.uint8)
    return out


def _check_finite(values: AnyArray, given: AnyArray, first_row: int, expected: str) -> None:
    """Raise InvalidArgument for the first row of `values` that is not finite; `given` is what it was made of."""
    good = np.isfinite(values)
    if not good.all():
        row, item = divmod(int(np.argmin(good)), good.shape[1])
        raise InvalidArgument(
            f"row {first_row + row}: item {item}: expected {expected}, found {given[row, item]}; "
            "the codec raw keeps any value"
        )


def _bytes(rows: AnyArray, num_rows: int) -> UInt8Array:
    flat = np.ascontiguousarray(rows).reshape(num_rows, -1) if num_rows else rows.reshape(0, 1)
    return flat.view(np.uint8)


def _view(coded: UInt8Array, dtype: Any, num_items: int) -> AnyArray:
    items: AnyArray = np.ascontiguousarray(coded).view(dtype).reshape(len(coded), num_items)
    return items
