"""Exact neighbours agree with NumPy in every metric and type, however the source is cut; their files round-trip."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.datasets import ground_truth
from outcrop.datasets.ground_truth import GroundTruth, exact_ground_truth, read_ground_truth, write_ground_truth
from outcrop.datasets.hdf5_file import write_ann_benchmarks
from outcrop.datasets.vectors import open_vectors
from outcrop.errors import CorruptFile, InvalidArgument

SIFT = Path(__file__).parents[2] / "../shared/data/sift-photos"
Array = np.ndarray[Any, Any]


def brute_force(rows: Array, queries: Array, k: int, metric: str) -> tuple[Array, Array]:
    x, q = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        x, q = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, q))
    distances = ((q[:, None] - x[None]) ** 2).sum(-1) if metric == "l2" else (metric == "cosine") - q @ x.T
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(distances, ids, axis=1)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32])
def test_neighbours_equal_brute_force(monkeypatch: pytest.MonkeyPatch, metric: Any, dtype: Any) -> None:
    monkeypatch.setattr(ground_truth, "MIN_BATCH_ROWS", 1)
    random = np.random.default_rng(5)
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    draw = random.standard_normal if info is None else lambda shape: random.integers(info.min, info.max + 1, shape)
    rows, queries = draw((500, 600)).astype(dtype), draw((9, 600)).astype(dtype)

    truth = exact_ground_truth(rows, queries, 20, metric, memory_bytes=100 * 600 * 8)

    ids, distances = brute_force(rows, queries, 20, metric)
    np.testing.assert_array_equal(truth.ids, ids)
    np.testing.assert_allclose(truth.distances, distances.astype(np.float32), rtol=1e-6, atol=1e-6)
    if info is not None and metric != "cosine":
        np.testing.assert_array_equal(truth.distances, distances.astype(np.float32))


@given(batch_rows=st.integers(1, 60), k=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_neighbours_do_not_depend_on_the_batches(batch_rows: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, 4, (50, 2)).astype(np.uint8)  # many exact ties
    queries = random.integers(0, 4, (5, 2)).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground_truth, "MIN_BATCH_ROWS", batch_rows)
        patch.setattr(ground_truth, "EXTRA_CANDIDATES", 50)
        truth = exact_ground_truth(rows, queries, k, memory_bytes=0)

    ids, distances = brute_force(rows, queries, k, "l2")
    np.testing.assert_array_equal(truth.ids, ids)
    np.testing.assert_array_equal(truth.distances, distances)


def test_neighbours_far_from_the_origin_are_not_lost_to_rounding() -> None:
    # In float32, ||x||^2 + ||q||^2 - 2xq of these is noise; only the recomputed candidates tell them apart.
    rows = np.full((20, 4), 3000, np.float32) + np.arange(20, dtype=np.float32)[:, None] / 512

    truth = exact_ground_truth(rows, rows[:1], 5)

    np.testing.assert_array_equal(truth.ids, [[0, 1, 2, 3, 4]])


def test_bad_arguments_say_which_row(tmp_path: Path) -> None:
    rows = np.ones((30, 3), np.float32)
    for k in (0, 31):
        with pytest.raises(InvalidArgument, match="k must be 1 to the 30 rows"):
            exact_ground_truth(rows, rows, k)
    with pytest.raises(InvalidArgument, match="dimension 2"):
        exact_ground_truth(rows, rows[:, :2], 1)
    with pytest.raises(InvalidArgument, match="metric 'l1'"):
        exact_ground_truth(rows, rows, 1, "l1")  # type: ignore[arg-type]
    rows[17] = 0
    with pytest.raises(InvalidArgument, match="row 17 is zero"):
        exact_ground_truth(rows, rows[:1], 1, "cosine")
    rows[21, 2] = np.nan
    with pytest.raises(InvalidArgument, match="row 21 holds a value that is not finite"):
        exact_ground_truth(rows, rows[:1], 1)


@pytest.mark.parametrize("name", ["gt100.bin", "bigann-10M.gt", "deep-10M", "gt.npy", "gt.ivecs", "gt.ibin"])
def test_files_of_neighbours_round_trip(tmp_path: Path, name: str) -> None:
    ids = np.arange(6, dtype=np.int64).reshape(2, 3)
    distances = np.sqrt(ids).astype(np.float32)

    write_ground_truth(tmp_path / name, GroundTruth(ids, distances))
    truth = read_ground_truth(tmp_path / name)

    np.testing.assert_array_equal(truth.ids, ids)
    assert truth.distances is not None
    np.testing.assert_array_equal(truth.distances, distances)
    assert truth.k == 3


def test_the_form_of_big_ann_benchmarks_has_the_bytes_of_its_document(tmp_path: Path) -> None:
    write_ground_truth(tmp_path / "a.gt", GroundTruth(np.array([[5, 7]]), np.array([[0.5, 1]], np.float32)))

    assert (tmp_path / "a.gt").read_bytes() == struct.pack("<IIiiff", 1, 2, 5, 7, 0.5, 1)


def test_neighbours_without_distances_are_read(tmp_path: Path) -> None:
    write_ground_truth(tmp_path / "a.ivecs", GroundTruth(np.array([[1, 2]]), None))

    assert read_ground_truth(tmp_path / "a.ivecs").distances is None
    with pytest.raises(InvalidArgument, match="holds distances, and there are none"):
        write_ground_truth(tmp_path / "a.gt", GroundTruth(np.array([[1, 2]]), None))


def test_neighbours_in_hdf5_are_read(tmp_path: Path) -> None:
    arrays = {"neighbors": np.array([[3, 1]], np.int32), "distances": np.array([[0, 2.0]])}
    write_ann_benchmarks(tmp_path / "a.hdf5", arrays, "euclidean")

    truth = read_ground_truth(tmp_path / "a.hdf5")

    np.testing.assert_array_equal(truth.ids, [[3, 1]])
    assert truth.distances is not None
    np.testing.assert_array_equal(truth.distances, [[0, 2]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(7),
        struct.pack("<II", 1, 1) + bytes(7),
        struct.pack("<II", 1, 1) + bytes(9),
        struct.pack("<II", 2**32 - 1, 2**32 - 1) + bytes(8),
        struct.pack("<IIif", 1, 1, -1, 0),
    ],
)
def test_damaged_files_of_neighbours_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gt").write_bytes(content)

    with pytest.raises(CorruptFile, match="expected"):
        read_ground_truth(tmp_path / "a.gt")


def test_ids_and_distances_must_have_one_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.int64))
    np.save(tmp_path / "a_dist.npy", np.ones((2, 2), np.float32))

    with pytest.raises(CorruptFile, match=r"ids \[2, 3\], distances \[2, 2\]"):
        read_ground_truth(tmp_path / "a.npy")


def test_ids_must_be_whole_and_fit_their_format(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))

    with pytest.raises(InvalidArgument, match="whole numbers"):
        read_ground_truth(tmp_path / "a.npy")
    with pytest.raises(InvalidArgument, match=r"ids below 2\^31"):
        write_ground_truth(tmp_path / "b.ivecs", GroundTruth(np.array([[1 << 31]]), None))


@pytest.mark.skipif(not SIFT.is_dir(), reason="needs the real vectors in ../shared/data/sift-photos")
def test_real_descriptors_have_the_published_neighbours() -> None:
    expected = read_ground_truth(SIFT / "gt.npy")
    queries = open_vectors(SIFT / "queries.npy").read(0, 50)

    truth = exact_ground_truth(open_vectors(SIFT / "base.npy"), queries, expected.k, memory_bytes=64 << 20)

    assert expected.distances is not None
    np.testing.assert_array_equal(truth.distances, expected.distances[:50])
    agree = truth.ids == expected.ids[:50]
    tied = (truth.distances[:, :-1] == truth.distances[:, 1:]).any(axis=1)
    assert agree[~tied].all()
