"""Rows come from any file of numbers exactly as they are, in any range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.datasets import text_table
from outcrop.datasets.array_file import open_array
from outcrop.datasets.rows import open_rows
from outcrop.datasets.vectors import write_vectors
from outcrop.errors import CorruptFile, InvalidArgument, NotFound
from outcrop.types import RowSource


def everything(source: RowSource) -> np.ndarray:
    return source.read(0, source.num_rows)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ">f4", ">i8", "int16", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 5), (9, 3, 2)])
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed npz"])
def test_arrays_keep_their_bits_whatever_their_shape_and_type(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], kind: str
) -> None:
    array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    if kind == "npy":
        np.save(tmp_path / "a.npy", array)
    elif kind == "npz":
        np.savez(tmp_path / "a.npz", x=array)
    else:
        np.savez_compressed(tmp_path / "a.npz", x=array)

    source = open_rows(tmp_path / ("a.npy" if kind == "npy" else "a.npz"))

    assert (source.num_rows, source.row_shape) == (9, shape[1:])
    assert source.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(everything(source), array)
    np.testing.assert_array_equal(source.read(4, 7), array[4:7])
    np.testing.assert_array_equal(source.read(2, 2), array[2:2])
    assert source.read(0, 9).flags.c_contiguous


def test_an_array_in_a_file_is_indexed_like_one_in_memory(tmp_path: Path) -> None:
    array = np.arange(12).reshape(6, 2)
    np.save(tmp_path / "a.npy", array)
    source = open_array(tmp_path / "a.npy")

    assert len(source) == 6
    for rows in (slice(None), slice(2, 4), slice(-3, None), slice(4, 2), slice(5, 99), 0, 5, -1):
        np.testing.assert_array_equal(source[rows], array[rows])
    with pytest.raises(InvalidArgument, match="but there are 6"):
        source[6]
    with pytest.raises(InvalidArgument, match="a step of 2 was asked"):
        source[::2]


@settings(max_examples=30, deadline=None)
@given(ranges=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=8))
@pytest.mark.parametrize("kind", ["fortran.npy", "compressed.npz", "table.csv"])
def test_ranges_come_in_any_order(tmp_path_factory: Any, kind: str, ranges: list[tuple[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    array = np.arange(120, dtype=np.float32).reshape(40, 3)
    np.save(folder / "fortran.npy", np.asfortranarray(array))
    np.savez_compressed(folder / "compressed.npz", a=array)
    (folder / "table.csv").write_text("".join(f"{a},{b},{c}\n" for a, b, c in array.tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_table, "_BATCH_LINES", 7)
        source = open_rows(folder / kind)

        for start, stop in ((min(pair), max(pair)) for pair in ranges):
            np.testing.assert_array_equal(source.read(start, stop), array[start:stop])


def test_a_file_without_a_header_is_read_by_shape_and_type_whatever_its_name(tmp_path: Path) -> None:
    array = np.random.default_rng(2).standard_normal((6, 4)).astype(np.float32)
    (tmp_path / "node_feat.npy").write_bytes(array.tobytes())
    (tmp_path / "big.bin").write_bytes(array.astype(">f4").tobytes())

    np.testing.assert_array_equal(everything(open_rows(tmp_path / "node_feat.npy", None, "float32", (4,))), array)
    np.testing.assert_array_equal(everything(open_rows(tmp_path / "big.bin", None, ">f4", (4,))), array)
    np.testing.assert_array_equal(everything(open_rows(tmp_path / "node_feat.npy", None, "float32", ())), array.ravel())
    with pytest.raises(InvalidArgument, match="has no npy header; say the dtype"):
        open_rows(tmp_path / "node_feat.npy")
    with pytest.raises(CorruptFile, match="whole rows of 20 bytes"):
        open_rows(tmp_path / "node_feat.npy", None, "float32", (5,))


def test_bfloat16_comes_as_uint16_and_says_so(tmp_path: Path) -> None:
    bits = np.arange(12, dtype=np.uint16).reshape(6, 2)
    (tmp_path / "raw.bin").write_bytes(bits.tobytes())
    np.save(tmp_path / "u2.npy", bits)
    np.save(tmp_path / "v2.npy", bits.view("V2"))

    for source in (
        open_rows(tmp_path / "raw.bin", None, "bfloat16", (2,)),
        open_rows(tmp_path / "u2.npy", None, "bfloat16"),
        open_rows(tmp_path / "v2.npy", None, "bfloat16"),
    ):
        np.testing.assert_array_equal(everything(source), bits)
        assert source.dtype == np.uint16
        assert getattr(source, "logical_dtype", None) == "bfloat16"
    assert getattr(open_rows(tmp_path / "u2.npy"), "logical_dtype", None) is None
    with pytest.raises(InvalidArgument, match="expected whole or floating numbers"):
        open_rows(tmp_path / "v2.npy")


def test_a_header_is_held_against_what_was_asked(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))

    with pytest.raises(InvalidArgument, match="expected float16, found float32"):
        open_rows(tmp_path / "a.npy", None, "float16")
    with pytest.raises(InvalidArgument, match=r"rows of \[5\], found \[4\]"):
        open_rows(tmp_path / "a.npy", None, None, (5,))
    with pytest.raises(InvalidArgument, match="none that NumPy knows"):
        open_rows(tmp_path / "a.npy", None, "float99")
    with pytest.raises(InvalidArgument, match="has no parts"):
        open_rows(tmp_path / "a.npy", "x")


def test_parts_of_an_npz_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(4))

    np.testing.assert_array_equal(everything(open_rows(tmp_path / "a.npz", "y")), np.arange(4))
    with pytest.raises(InvalidArgument, match="holds x, y; name the part"):
        open_rows(tmp_path / "a.npz")
    with pytest.raises(NotFound, match="no part 'z', found x, y"):
        open_rows(tmp_path / "a.npz", "z")


def test_text_and_vectors_are_rows_too(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("3\n1\n2\n")
    (tmp_path / "feat.csv").write_text("a;b\n0.5;1\n-2;1e3\n")
    write_vectors(tmp_path / "v.u8bin", np.arange(6, dtype=np.uint8).reshape(2, 3))

    labels = open_rows(tmp_path / "labels.csv", dtype="int64")
    assert (labels.row_shape, everything(labels).tolist()) == ((), [3, 1, 2])
    np.testing.assert_array_equal(everything(open_rows(tmp_path / "feat.csv")), [[0.5, 1], [-2, 1000]])
    np.testing.assert_array_equal(everything(open_rows(tmp_path / "v.u8bin")), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(InvalidArgument, match=r"line 2: expected 2 of int64, found '0\.5;1'"):
        everything(open_rows(tmp_path / "feat.csv", dtype="int64"))
    with pytest.raises(InvalidArgument, match="text is read as one of"):
        open_rows(tmp_path / "feat.csv", dtype="bfloat16")
    with pytest.raises(InvalidArgument, match="dtype 'int8' was asked"):
        open_rows(tmp_path / "v.u8bin", dtype="int8")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,2", "3,4", "5"], "lines 2 to 3 differ in length|lines 1 to 3 differ in length"),
        (["1,2", "3,4,5", "6,7,8"], "lines 1 to 3 differ in length|lines 1 to 2 differ in length"),
        (["1,2", "3,4", "x,5"], "line 3: expected 2 of float32, found 'x,5'"),
    ],
)
def test_a_table_with_a_ragged_or_wordy_line_is_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "a.csv").write_text("\n".join(lines))

    with pytest.raises(InvalidArgument, match=words):
        everything(open_rows(tmp_path / "a.csv"))


def test_a_later_batch_of_other_width_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "_BATCH_LINES", 2)
    (tmp_path / "a.csv").write_text("1,2\n3,4\n5,6,7\n8,9,10\n")

    with pytest.raises(InvalidArgument, match="expected 2 columns, found 3"):
        everything(open_rows(tmp_path / "a.csv"))


def test_a_feature_of_graphbolt_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text(
        "feature_data:\n"
        "  - {domain: node, type: paper, name: feat, format: numpy, path: p.npy}\n"
        "  - {domain: node, type: author, name: feat, format: numpy, path: a.npy}\n"
        "  - {domain: node, type: author, name: year, format: torch, path: y.pt}\n"
    )
    np.save(tmp_path / "p.npy", np.eye(3))
    np.save(tmp_path / "a.npy", np.eye(2))

    assert open_rows(tmp_path, "paper:feat").num_rows == 3
    assert open_rows(tmp_path / "metadata.yaml", "author:feat").num_rows == 2
    with pytest.raises(NotFound, match="2 node features 'feat', found paper:feat, author:feat, author:year"):
        open_rows(tmp_path)
    with pytest.raises(InvalidArgument, match="format torch, expected numpy"):
        open_rows(tmp_path, "year")


@pytest.mark.parametrize("range_", [(-1, 2), (0, 4), (2, 1)])
def test_ranges_outside_are_refused(tmp_path: Path, range_: tuple[int, int]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.csv").write_text("1\n2\n3\n")

    for name in ("a.npy", "a.csv"):
        with pytest.raises(InvalidArgument, match="but there are 3"):
            open_rows(tmp_path / name).read(*range_)


def test_identities_change_with_the_file(tmp_path: Path) -> None:
    for name in ("a.npy", "a.csv"):
        found = []
        for rows in (3, 3, 4):
            if name == "a.npy":
                np.save(tmp_path / name, np.zeros(rows))
            else:
                (tmp_path / name).write_text("1\n" * rows)
            source: Any = open_rows(tmp_path / name)
            found.append(source.identity())
        assert len(set(found)) >= 2
        assert found[2] not in found[:2]
        assert source.identity() == found[2]


def test_single_numbers_objects_and_cubes_in_fortran_order_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array(1.0))
    np.save(tmp_path / "object.npy", np.array([None]), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros(2, complex))
    np.save(tmp_path / "cube.npy", np.asfortranarray(np.zeros((2, 3, 4))))

    for name, words in (
        ("one", "single number"), ("object", "never unpickled"), ("complex", "floating"), ("cube", "Fortran"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgument, match=words):
            open_rows(tmp_path / f"{name}.npy")
