"""A file that lies about itself is refused with what was expected and what was found; nothing large is allocated."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.datasets.vectors import FORMATS, open_vectors, write_vectors
from outcrop.errors import CorruptFile, InvalidArgument, NotFound, OutcropError, StorageFailure, UnsupportedFormat

PLAIN = [format for format in FORMATS if format not in ("hdf5", "parquet")]


def written(folder: Path, format: str, rows: int = 6, dim: int = 3) -> Path:
    path = folder / f"a.{format}"
    write_vectors(path, np.arange(rows * dim, dtype=np.uint8).reshape(rows, dim))
    return path


def npy_with_header(path: Path, header: str, data: bytes = b"", version: int = 1) -> Path:
    text = header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(text)) + text + data)
    return path


@pytest.mark.parametrize("format", PLAIN)
def test_every_truncation_is_refused(tmp_path: Path, format: str) -> None:
    path = written(tmp_path, format)
    whole = path.read_bytes()
    stride = {"fvecs": 16, "ivecs": 16, "bvecs": 7}.get(format)

    for length in range(len(whole)):
        if stride and length % stride == 0:
            continue  # whole rows of this family are a valid, shorter file
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptFile, match="expected"):
            open_vectors(path)


@pytest.mark.parametrize("format", PLAIN)
def test_a_byte_too_many_is_refused(tmp_path: Path, format: str) -> None:
    path = written(tmp_path, format)
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(CorruptFile, match=rf"expected .* found {path.stat().st_size}"):
        open_vectors(path)


@pytest.mark.parametrize("format", ["fvecs", "bvecs", "ivecs"])
def test_an_empty_file_of_rows_has_no_dimension(tmp_path: Path, format: str) -> None:
    (tmp_path / f"a.{format}").touch()

    with pytest.raises(InvalidArgument, match="no dimension"):
        open_vectors(tmp_path / f"a.{format}")


@pytest.mark.parametrize("format", ["fbin", "npy", "hdf5", "parquet"])
def test_an_empty_file_with_a_header_is_corrupt(tmp_path: Path, format: str) -> None:
    (tmp_path / f"a.{format}").touch()

    with pytest.raises(CorruptFile):
        open_vectors(tmp_path / f"a.{format}")


@pytest.mark.parametrize(("rows", "dim"), [(2**32 - 1, 2**32 - 1), (2**31, 2), (2**30, 2**30), (1, 2**32 - 1)])
def test_fbin_sizes_that_overflow_machine_words_are_refused(tmp_path: Path, rows: int, dim: int) -> None:
    path = tmp_path / "a.fbin"
    path.write_bytes(struct.pack("<II", rows, dim) + bytes(32))

    with pytest.raises(CorruptFile, match=f"expected {8 + 4 * rows * dim} bytes"):
        open_vectors(path)


@pytest.mark.parametrize("dim", [0, -1, -(2**31), 2**31 - 1])
def test_fvecs_of_impossible_dimension_are_refused(tmp_path: Path, dim: int) -> None:
    path = tmp_path / "a.fvecs"
    path.write_bytes(struct.pack("<i", dim) + bytes(28))

    with pytest.raises(CorruptFile, match=f"dimension {dim}"):
        open_vectors(path)


def test_fbin_of_dimension_zero_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fbin").write_bytes(struct.pack("<II", 5, 0))

    with pytest.raises(CorruptFile, match="dimension 0"):
        open_vectors(tmp_path / "a.fbin")


def test_a_row_of_another_dimension_is_named_when_read(tmp_path: Path) -> None:
    path = written(tmp_path, "fvecs")
    data = bytearray(path.read_bytes())
    struct.pack_into("<i", data, 4 * 16, 7)
    path.write_bytes(data)
    source = open_vectors(path)

    np.testing.assert_array_equal(source.read(0, 4), np.arange(12).reshape(4, 3))
    with pytest.raises(CorruptFile, match="row 4 at offset 64 says dimension 7, row 0 says 3"):
        list(source.batches(3))


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 8), }", CorruptFile),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", CorruptFile),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }", CorruptFile),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 8), }", CorruptFile),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (0, 8), }", CorruptFile),
        ("{'descr': '<f4', 'shape': (0, 8), }", CorruptFile),
        ("{'descr': 'nonsense', 'fortran_order': False, 'shape': (0, 8), }", CorruptFile),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (0,", CorruptFile),
        ("(" * 900, CorruptFile),
        ("__import__('os').abort()", CorruptFile),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }", InvalidArgument),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0, 8), }", InvalidArgument),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (0, 8), }", InvalidArgument),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }", InvalidArgument),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (8, 0), }", InvalidArgument),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_npy_headers_that_lie_or_hold_no_vectors_are_refused(tmp_path: Path, header: str, error: type) -> None:
    with pytest.raises(error):
        open_vectors(npy_with_header(tmp_path / "a.npy", header, bytes(16)))


def test_npy_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)

    with pytest.raises(InvalidArgument, match="never unpickled"):
        open_vectors(tmp_path / "a.npy")


def test_npy_of_an_unknown_version_or_a_huge_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="npy version 9, supported are 1 to 3"):
        open_vectors(npy_with_header(tmp_path / "a.npy", "{}", version=9))
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1))
    with pytest.raises(CorruptFile, match="header of 4294967295 bytes"):
        open_vectors(tmp_path / "b.npy")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_give_rows_or_one_of_our_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    format = data.draw(st.sampled_from(FORMATS))
    path = written(tmp_path_factory.mktemp("flip"), format)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    try:
        with open_vectors(path) as source:
            if source.num_rows * source.row_bytes < 1 << 20:
                assert source.read(0, source.num_rows).shape == (source.num_rows, source.dim)
    except OutcropError:
        pass


def test_a_file_that_shrinks_while_read_is_corrupt(tmp_path: Path) -> None:
    path = written(tmp_path, "npy")
    source = open_vectors(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4)

    with pytest.raises(CorruptFile, match="the file ends after"):
        source.read(3, 6)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    for format in FORMATS:
        with pytest.raises(NotFound, match="no such file"):
            open_vectors(tmp_path / f"a.{format}")
    with pytest.raises(NotFound, match="no data set 'test', found train"):
        open_vectors(written(tmp_path, "hdf5"), dataset="test")
    with pytest.raises(NotFound, match="no column 'b', found vector"):
        open_vectors(written(tmp_path, "parquet"), dataset="b")


def test_what_the_system_refuses_carries_errno(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is a folder"):
        open_vectors(tmp_path, format="fbin")
    with pytest.raises(StorageFailure) as raised:
        open_vectors(Path("a" * 300 + ".fbin"))
    assert raised.value.errno == 36


def test_unknown_formats_and_closed_files_are_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="extension tells no format"):
        open_vectors("vectors.txt")
    with pytest.raises(InvalidArgument, match="format 'csv' is not one of"):
        open_vectors("vectors.npy", format="csv")
    with pytest.raises(InvalidArgument, match="no part named"):
        open_vectors(written(tmp_path, "npy"), dataset="x")
    for format in FORMATS:
        source = open_vectors(written(tmp_path, format))
        with pytest.raises(InvalidArgument, match="rows 4 to 7 asked, but there are 6"):
            source.read(4, 7)
        source.close()
        source.close()
        with pytest.raises(InvalidArgument, match="closed"):
            source.read(0, 1)


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        ([[1, 2], [1, 2, 3]], "row 1 holds 3 numbers, expected 2"),
        ([[1, 2], None, [1, 2]], "row 1 holds null"),
        ([[1, 2], [1, None]], "row 1 holds a null"),
    ],
)
def test_parquet_rows_that_are_no_vectors_are_named(tmp_path: Path, lists: list[Any], text: str) -> None:
    column = pa.array(lists, type=pa.list_(pa.float32()))
    pq.write_table(pa.table({"v": column}), tmp_path / "a.parquet")

    source = open_vectors(tmp_path / "a.parquet")

    with pytest.raises(InvalidArgument, match=text):
        source.read(0, len(lists))
    with pytest.raises(InvalidArgument, match=text):
        source.read(0, len(lists))


def test_columns_and_data_sets_that_hold_no_vectors_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0], "b": ["x"]}), tmp_path / "a.parquet")
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["train"] = np.ones(3)
        file["words"] = [[b"a"]]

    with pytest.raises(InvalidArgument, match="found none"):
        open_vectors(tmp_path / "a.parquet")
    with pytest.raises(InvalidArgument, match="column a holds double"):
        open_vectors(tmp_path / "a.parquet", dataset="a")
    with pytest.raises(InvalidArgument, match=r"shape \[rows, dim >= 1\], found \[3\]"):
        open_vectors(tmp_path / "a.hdf5")
    with pytest.raises(InvalidArgument, match="element type"):
        open_vectors(tmp_path / "a.hdf5", dataset="words")


@pytest.mark.parametrize(("module", "format", "extra"), [("h5py", "hdf5", "hdf5"), ("pyarrow", "parquet", "arrow")])
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, format: str, extra: str
) -> None:
    path = written(tmp_path, format)
    monkeypatch.setitem(__import__("sys").modules, module, None)

    with pytest.raises(InvalidArgument, match=rf"pip install 'outcrop\[{extra}\]'"):
        open_vectors(path)
