"""Whatever is written in a format is read back, by whole files, by pieces, and by the field's own readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from outcrop.datasets.vectors import ELEMENTS, ENGINE_DTYPES, FORMATS, MemorySource, open_vectors, write_vectors
from outcrop.errors import InvalidArgument

Array = np.ndarray[Any, Any]


def dtypes_of(format: str) -> tuple[np.dtype[Any], ...]:
    return (np.dtype(ELEMENTS[format]),) if format in ELEMENTS else ENGINE_DTYPES


@st.composite
def files(draw: st.DrawFn) -> tuple[str, Array]:
    format = draw(st.sampled_from(FORMATS))
    dtype = draw(st.sampled_from(dtypes_of(format)))
    rows = draw(st.integers(1 if format.endswith("vecs") else 0, 40))
    dim = draw(st.integers(1, 9))
    return format, draw(hnp.arrays(dtype, (rows, dim)))


@given(file=files(), cuts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_rows_written_in_any_format_are_read_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, Array], cuts: list[tuple[int, int]]
) -> None:
    format, rows = file
    path = tmp_path_factory.mktemp("round") / f"a.{format}"

    assert write_vectors(path, rows) == len(rows)

    with open_vectors(path) as source:
        assert (source.num_rows, source.dim, source.dtype) == (*rows.shape, rows.dtype)
        np.testing.assert_array_equal(source.read(0, len(rows)), rows)
        for a, b in cuts:
            start, stop = sorted((min(a, len(rows)), min(b, len(rows))))
            np.testing.assert_array_equal(source.read(start, stop), rows[start:stop])
        if len(rows):
            np.testing.assert_array_equal(np.concatenate(list(source.batches(7))), rows)


@pytest.mark.parametrize("format", FORMATS)
def test_batches_of_any_size_are_joined(tmp_path: Path, format: str) -> None:
    rows = np.arange(60, dtype=dtypes_of(format)[0]).reshape(20, 3)
    path = tmp_path / f"a.{format}"

    write_vectors(path, (part for part in np.split(rows, [1, 1, 8])))

    np.testing.assert_array_equal(open_vectors(path).read(0, 20), rows)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_of_any_order_and_version_is_read(
    tmp_path: Path, order: Any, byte_order: str, version: tuple[int, int]
) -> None:
    rows = np.asarray(np.arange(35).reshape(7, 5), dtype=f"{byte_order}f4", order=order)
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, rows, version=version)

    source = open_vectors(path)

    assert source.dtype == np.float32
    assert source.dtype.isnative
    np.testing.assert_array_equal(source.read(2, 6), rows[2:6])


def test_numpy_reads_what_we_write(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)

    write_vectors(tmp_path / "a.npy", rows)

    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), rows)


def test_fbin_and_fvecs_have_the_bytes_of_their_documents(tmp_path: Path) -> None:
    rows = np.array([[1, 2], [3, 4]], dtype=np.float32)

    write_vectors(tmp_path / "a.fbin", rows)
    write_vectors(tmp_path / "a.bvecs", rows)

    assert (tmp_path / "a.fbin").read_bytes() == bytes([2, 0, 0, 0, 2, 0, 0, 0]) + rows.astype("<f4").tobytes()
    assert (tmp_path / "a.bvecs").read_bytes() == bytes([2, 0, 0, 0, 1, 2, 2, 0, 0, 0, 3, 4])


def test_hdf5_of_ann_benchmarks_is_read_by_data_set(tmp_path: Path) -> None:
    path = tmp_path / "sift.hdf5"
    train, test = np.arange(20.0).reshape(10, 2), np.ones((3, 2), np.float32)
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = train, test

    np.testing.assert_array_equal(open_vectors(path).read(3, 9), train[3:9])
    np.testing.assert_array_equal(open_vectors(path, dataset="test").read(0, 3), test)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_parquet_lists_without_fixed_size_are_read_across_row_groups(tmp_path: Path, kind: Any) -> None:
    rows = np.arange(70, dtype=np.float32).reshape(35, 2)
    table = pa.table({"id": range(35), "emb": pa.array(rows.tolist(), type=kind(pa.float32()))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=8)
    source = open_vectors(tmp_path / "a.parquet")

    for start, stop in [(0, 35), (3, 5), (5, 30), (30, 35), (35, 35), (7, 9), (0, 0), (34, 35)]:
        np.testing.assert_array_equal(source.read(start, stop), rows[start:stop])


def test_parquet_of_several_vector_columns_wants_a_name(tmp_path: Path) -> None:
    lists = pa.array([[1.0, 2.0]], type=pa.list_(pa.float32()))
    pq.write_table(pa.table({"a": lists, "b": lists}), tmp_path / "a.parquet")

    with pytest.raises(InvalidArgument, match="found a, b; name the column"):
        open_vectors(tmp_path / "a.parquet")

    assert open_vectors(tmp_path / "a.parquet", dataset="b").num_rows == 1


def test_an_extension_before_a_crop_suffix_tells_the_format(tmp_path: Path) -> None:
    path = tmp_path / "base.1B.u8bin.crop_nb_2"
    write_vectors(path, np.ones((2, 3), np.uint8))

    assert open_vectors(path).format == "u8bin"


def test_a_memory_source_gives_views(tmp_path: Path) -> None:
    rows = np.ones((4, 2), np.float32)

    assert np.shares_memory(MemorySource(rows).read(1, 3), rows)


def test_progress_counts_rows_up_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    write_vectors(tmp_path / "a.npy", np.ones((4, 2), np.float32), progress=lambda *args: seen.append(args))

    assert seen[-1] == (4, 4)
