"""Arrays in messages: NumPy on one side, little-endian bytes on the other, no lists between."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray
from outcrop.v1 import tensor_pb2
from outcrop.v1.tensor_pb2 import DataType, Ids, Tensor

_NUMPY: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    tensor_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    tensor_pb2.DATA_TYPE_INT8: np.dtype("i1"),
    tensor_pb2.DATA_TYPE_UINT16: np.dtype("<u2"),
    tensor_pb2.DATA_TYPE_INT16: np.dtype("<i2"),
    tensor_pb2.DATA_TYPE_UINT32: np.dtype("<u4"),
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    tensor_pb2.DATA_TYPE_UINT64: np.dtype("<u8"),
    tensor_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    tensor_pb2.DATA_TYPE_BOOL: np.dtype("?"),
}
_MOST_ITEMS = 1 << 59
_WIRE = {dtype: number for number, dtype in _NUMPY.items()}


def wire_dtype(dtype: npt.DTypeLike) -> DataType:
    """Return the number that stands for a NumPy dtype. Raises InvalidArgument for one that the wire has no word for."""
    wanted = np.dtype(dtype).newbyteorder("<")
    if wanted not in _WIRE:
        names = ", ".join(str(known) for known in _WIRE)
        raise InvalidArgument(f"array: expected one of {names}, found {np.dtype(dtype)}")
    return cast(DataType, _WIRE[wanted])


def numpy_dtype(number: int) -> "np.dtype[Any]":
    """Return the NumPy dtype that a number stands for. Raises InvalidArgument for an unknown one."""
    if number not in _NUMPY:
        raise InvalidArgument(f"tensor: expected a known dtype, found number {number}")
    return _NUMPY[number]


def to_tensor(array: npt.ArrayLike) -> Tensor:
    """Return a message with a copy of an array of any byte order and layout. Raises InvalidArgument for its dtype."""
    given = np.asarray(array)
    number = wire_dtype(given.dtype)
    return Tensor(dtype=number, shape=given.shape, data=given.astype(_NUMPY[number], order="C", copy=False).tobytes())


def from_tensor(tensor: Tensor, what: str = "tensor") -> AnyArray:
    """Return the array of a message, read-only: a view of its bytes.

    what: its name in messages. Raises InvalidArgument where dtype, shape and number of bytes do not agree; the product
    of the shape is taken without overflow, and nothing is allocated for it.
    """
    dtype = numpy_dtype(tensor.dtype)
    check_shape(what, tensor.shape)
    data = tensor.data
    expected = math.prod(tensor.shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidArgument(f"{what}: expected {expected} bytes for {dtype} {list(tensor.shape)}, found {len(data)}")
    # An array of no items may have large dimensions all the same, and NumPy multiplies those that are not zero.
    if not data and math.prod(max(1, length) for length in tensor.shape) > _MOST_ITEMS:
        raise InvalidArgument(f"{what}: expected dimensions whose product is at most 2^59, found {list(tensor.shape)}")
    return np.frombuffer(data, dtype).reshape(tuple(tensor.shape))


def check_shape(what: str, shape: Sequence[int]) -> None:
    """Raise InvalidArgument for more than eight dimensions, or a negative one."""
    if len(shape) > 8 or any(not 0 <= length < 2**48 for length in shape):
        raise InvalidArgument(f"{what}: expected at most 8 dimensions of 0 to 2^48, found {list(shape)[:9]}")


def to_ids(ids: "npt.NDArray[np.int64] | npt.NDArray[np.object_]") -> Ids:
    """Return ids of any shape; texts lose theirs, and None, which stands for a missing one, is the empty text."""
    if ids.dtype.kind != "O":
        return Ids(numbers=to_tensor(ids))
    found = Ids()
    found.strings.values.extend("" if text is None else text for text in ids.reshape(-1).tolist())
    return found


def from_ids(ids: Ids, shape: tuple[int, ...]) -> "npt.NDArray[np.int64] | npt.NDArray[np.object_]":
    """Return ids as `to_ids` was given them: int64, or object of str and None."""
    if ids.WhichOneof("kind") == "strings":
        texts = np.array([text or None for text in ids.strings.values], dtype=object)
        return texts.reshape(shape)
    numbers: npt.NDArray[np.int64] = from_tensor(ids.numbers, "ids").reshape(shape).astype(np.int64, copy=False)
    return numbers
