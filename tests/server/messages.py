"""Messages that nobody would write: random values in the fields that descriptors declare, and bytes that are none."""

import random
from typing import Any

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from outcrop.proto.tensors import to_tensor
from outcrop.v1.tensor_pb2 import Tensor

_DEEPEST = 4
_INTEGERS = (0, 1, 2, 3, 7, 100, 65_537, 2**31 - 1, 2**32 - 1, 2**63 - 1, -1, -(2**31), -(2**63), 1 << 40)
_FLOATS = (0.0, 0.5, 0.95, 1.0, -1.0, 1e-300, 1e308, float("nan"), float("inf"), float("-inf"))
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Fuzzer:
    """Makes messages from a seed. names: texts that mean something to the server."""

    def __init__(self, seed: int, names: list[str]) -> None:
        self.random = random.Random(seed)
        self._texts = [*names, *names, "", "../x", "a/b", "x" * 300, "ü", "\x00", "NaN", "0", "{}"]

    def request(self, message: type[Message]) -> bytes:
        """Bytes for an RPC that takes `message`: whole, cut, altered, or random."""
        choice = self.random.random()
        if choice < 0.1:
            return self.random.randbytes(self.random.choice((0, 1, 7, 100, 5000)))
        made = self.message(message).SerializeToString()
        if choice < 0.75 or not made:
            return made
        place = self.random.randrange(len(made))
        if choice < 0.85:
            return made[:place]
        altered = bytearray(made)
        altered[place] = self.random.randrange(256)
        return bytes(altered) + (made if choice > 0.95 else b"")

    def message(self, kind: type[Message], depth: int = 0) -> Message:
        """A message in which about two thirds of the fields are set."""
        made = kind()
        if isinstance(made, Tensor) and self.random.random() < 0.6:
            return self._tensor()
        self._fill(made, kind.DESCRIPTOR, depth)
        return made

    def _fill(self, made: Any, descriptor: Descriptor, depth: int) -> None:
        for field in descriptor.fields:
            if self.random.random() > 0.65:
                continue
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                getattr(made, field.name)[self._text()] = self._text()
            elif field.message_type is not None:
                if depth < _DEEPEST:
                    self._nest(made, field, depth)
            elif field.is_repeated:
                getattr(made, field.name).extend(self._value(field) for _ in range(self.random.randrange(4)))
            else:
                setattr(made, field.name, self._value(field))

    def _nest(self, made: Any, field: FieldDescriptor, depth: int) -> None:
        inner = getattr(made, field.name)
        if field.is_repeated:
            for _ in range(self.random.randrange(3)):
                inner.add().CopyFrom(self.message(field.message_type._concrete_class, depth + 1))
        else:
            inner.CopyFrom(self.message(field.message_type._concrete_class, depth + 1))

    def _value(self, field: FieldDescriptor) -> Any:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.random.randbytes(self.random.choice((0, 1, 16, 64, 4000)))
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._text()
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self.random.random() < 0.5
        if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self.random.choice(_FLOATS)
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self.random.choice((*field.enum_type.values_by_number, 99))
        least, most = _RANGES[field.cpp_type]
        return min(max(self.random.choice(_INTEGERS), least), most)

    def _text(self) -> str:
        return self.random.choice(self._texts)

    def _tensor(self) -> Tensor:
        """One that is an array, of a shape that some RPC may want."""
        shape = self.random.choice(((0,), (1,), (5,), (1, 4), (3, 4), (2, 2), (7, 2), (0, 4), (2, 3, 4), ()))
        dtype = self.random.choice(("<f4", "<i8", "<u4", "u1", "<f2", "?", "<f8"))
        return to_tensor(np.full(shape, self.random.choice((0, 1, 3, 255)), dtype))
