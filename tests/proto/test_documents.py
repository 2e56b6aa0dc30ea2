"""Reports and statistics as JSON documents."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest

from outcrop.errors import OutcropError
from outcrop.proto.documents import from_document, to_document
from outcrop.types import FileEntry, Manifest, Progress
from outcrop.v1.common_pb2 import Document


@dataclass(frozen=True)
class Inner:
    name: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    by_type: Mapping[tuple[str, str], Inner]
    maybe: Inner | None
    ratio: float
    pair: tuple[int, str]
    more: dict[str, float]
    extra: int = 7


OUTER = Outer(Inner("a", (1, 2)), {("x", "y"): Inner("b", ())}, None, 1.0, (3, "z"), {"p": 2.0})


def test_a_record_comes_back_as_it_was() -> None:
    assert from_document(to_document(OUTER), Outer) == OUTER


def test_numbers_of_numpy_are_numbers() -> None:
    record = Progress("x", np.float64(0.5), None)

    assert from_document(to_document(record), Progress) == Progress("x", 0.5, None)


def test_fields_of_a_newer_end_are_left_out_and_missing_ones_take_their_defaults() -> None:
    json = '{"stage": "pack", "fraction": 1, "seconds_left": null, "invented": [1]}'

    assert from_document(Document(type="Progress", json=json), Progress) == Progress("pack", 1.0, None)


@pytest.mark.parametrize("json", ["", "[", "3", '{"stage": "x"}', "null"])
def test_a_document_that_does_not_fit_is_an_error_of_the_server(json: str) -> None:
    with pytest.raises(OutcropError, match="Progress"):
        from_document(Document(type="Progress", json=json), Progress)


def test_a_manifest_comes_back_with_the_bytes_of_its_file_ids() -> None:
    manifest = Manifest("o", 3, 1.5, (FileEntry("a.blk", "rows", 3, bytes(range(16)), 7),), {"metric": "l2"})

    assert from_document(to_document(manifest), Manifest) == manifest
