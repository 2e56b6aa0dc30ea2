"""Reports and statistics on the wire: a dataclass as JSON, and back by its type hints. Unknown fields are left out, and
missing ones take their defaults, so that either end may be older."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np

from outcrop.errors import OutcropError
from outcrop.v1.common_pb2 import Document

Record = TypeVar("Record")


def to_document(record: Any) -> Document:
    """Return a dataclass, with all that it holds, as a message."""
    return Document(type=type(record).__name__, json=json.dumps(to_json(record), separators=(",", ":")))


def from_document(document: Document, kind: type[Record]) -> Record:
    """Return the record of class `kind` that a message holds. Raises OutcropError where it does not fit."""
    try:
        record: Record = from_json(json.loads(document.json), kind)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise OutcropError(f"{document.type} of the server: expected a {kind.__name__}: {error}") from error
    return record


def to_json(value: Any) -> Any:
    """Return dataclasses, mappings, sequences, arrays and NumPy's numbers as JSON has them.

    A mapping whose keys are no texts becomes a list of pairs; bytes become hexadecimal digits.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
        return [[to_json(key), to_json(item)] for key, item in value.items()]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def from_json(value: Any, kind: Any) -> Any:
    """Return JSON as a value of type `kind`: the inverse of `to_json`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return from_json(value, next(choice for choice in arguments if choice is not type(None)))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        known = _hints(kind)
        return kind(**{name: from_json(item, known[name]) for name, item in value.items() if name in known})
    if origin is tuple:
        kinds = (arguments[0],) * len(value) if arguments[1:] == (...,) else arguments
        return tuple(from_json(item, one) for item, one in zip(value, kinds, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else value
        return {from_json(key, arguments[0]): from_json(item, arguments[1]) for key, item in pairs}
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return [from_json(item, arguments[0]) for item in value]
    if kind is bytes:
        return bytes.fromhex(value)
    if kind is float and isinstance(value, int):
        return float(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in fields}
