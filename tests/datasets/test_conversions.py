"""Element types convert without loss, or as far as the caller asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from outcrop.datasets.vectors import open_vectors, write_vectors
from outcrop.errors import InvalidArgument


def test_bytes_become_floats_where_the_format_holds_floats(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.fvecs", np.array([[0, 255]], np.uint8))

    np.testing.assert_array_equal(open_vectors(tmp_path / "a.fvecs").read(0, 1), [[0, 255]])


def test_floats_that_are_whole_become_bytes(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.i8bin", np.array([[-128, 127]], np.float32))

    np.testing.assert_array_equal(open_vectors(tmp_path / "a.i8bin").read(0, 1), [[-128, 127]])


@pytest.mark.parametrize("value", [0.5, 256.0, -1.0, np.nan, np.inf])
def test_a_value_that_is_no_byte_is_refused_by_row(tmp_path: Path, value: float) -> None:
    rows = np.array([[1], [value]], np.float32)

    with pytest.raises(InvalidArgument, match=r"row 1 holds .* no uint8"):
        write_vectors(tmp_path / "a.u8bin", rows)

    assert list(tmp_path.iterdir()) == []


def test_rounding_is_done_when_asked_and_never_for_nan(tmp_path: Path) -> None:
    rows = np.array([[0.5, 1.5, 300, -7]], np.float32)

    write_vectors(tmp_path / "a.u8bin", rows, rounded=True)

    np.testing.assert_array_equal(open_vectors(tmp_path / "a.u8bin").read(0, 1), [[0, 2, 255, 0]])
    with pytest.raises(InvalidArgument, match="row 0 holds nan"):
        write_vectors(tmp_path / "b.u8bin", rows * np.nan, rounded=True)


def test_a_float_that_would_become_infinite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="row 0 holds 70000"):
        write_vectors(tmp_path / "a.npy", np.array([[70000]], np.float32), dtype=np.float16)


def test_a_format_with_its_own_element_type_refuses_another(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="fbin file holds float32, not uint8"):
        write_vectors(tmp_path / "a.fbin", np.ones((1, 1), np.uint8), dtype=np.uint8)


def test_the_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_vectors(path, np.ones((2, 2), np.float32))
    before = path.read_bytes()

    with pytest.raises(InvalidArgument, match="row 1 has dimension"):
        write_vectors(path, [np.ones((1, 2), np.float32), np.ones((1, 3), np.float32)])

    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("format", ["fvecs", "bvecs", "ivecs"])
def test_zero_rows_are_refused_where_the_format_could_not_tell_the_dimension(tmp_path: Path, format: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot hold zero rows"):
        write_vectors(tmp_path / f"a.{format}", np.empty((0, 3), np.uint8))
