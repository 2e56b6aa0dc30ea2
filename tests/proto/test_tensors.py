"""Arrays in messages."""

import numpy as np
import pytest

from outcrop.errors import InvalidArgument
from outcrop.proto.tensors import from_ids, from_tensor, to_ids, to_tensor
from outcrop.v1 import tensor_pb2
from outcrop.v1.tensor_pb2 import Tensor

DTYPES = ["f4", "f2", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "?"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3)])
def test_an_array_comes_back_with_every_bit(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.frombuffer(np.random.default_rng(0).bytes(8 * 6), dtype)[: int(np.prod(shape))].reshape(shape)

    back = from_tensor(Tensor.FromString(to_tensor(array).SerializeToString()))

    assert back.dtype == array.dtype
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


def test_byte_order_and_layout_of_the_given_array_do_not_matter() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T

    assert from_tensor(to_tensor(array)).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[2], data=b"1234567"), "expected 8 bytes"),
        (Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[-1], data=b""), "dimensions"),
        (Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[2**62, 2**62], data=b""), "dimensions"),
        (
            Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[2**40, 2**40], data=b""),
            "expected 1208925819614629174706176",
        ),
        (Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT64, shape=[0, 2**40, 2**40], data=b""), "whose product is at most"),
        (Tensor(dtype=tensor_pb2.DATA_TYPE_UINT8, shape=[1] * 9, data=b"1"), "dimensions"),
        (Tensor(shape=[1], data=b"1"), "number 0"),
        (Tensor(dtype=99, shape=[1], data=b"1"), "number 99"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(tensor: Tensor, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        from_tensor(tensor, "queries")


def test_an_array_without_a_word_on_the_wire_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="complex128"):
        to_tensor(np.zeros(3, np.complex128))


def test_ids_are_numbers_or_texts() -> None:
    numbers = np.array([[3, -1], [9, 2]], np.int64)
    texts = np.array([["a", None], ["b", "ü"]], dtype=object)

    assert from_ids(to_ids(numbers), (2, 2)).tolist() == numbers.tolist()
    assert from_ids(to_ids(texts), (2, 2)).tolist() == texts.tolist()
