"""Generated graphs: the same from the same seed, simple, with heavy tails, and with neighbours that help."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from outcrop.datasets.graph_generate import Split, make_graph
from outcrop.datasets.graph_law import GraphLaw, GraphShape, Shuffle
from outcrop.errors import InvalidArgument, StorageFailure

NODES = 70_000  # more than a chunk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    make_graph(folder, GraphShape(NODES, dim=16, num_classes=8, seed=3), Split(0.01, 0.002, 0.003))
    return folder


def array(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def test_arrays_have_the_stated_shapes_and_types(folder: Path) -> None:
    described = json.loads((folder / "graph.json").read_text())

    shapes = {name: (array(folder, name).shape, array(folder, name).dtype.name) for name in ("indptr", "labels")}
    assert shapes == {"indptr": ((NODES + 1,), "int64"), "labels": ((NODES,), "int64")}
    assert array(folder, "features").shape == (NODES, 16)
    assert array(folder, "features").dtype == np.float32
    assert array(folder, "indptr")[-1] == len(array(folder, "indices")) == described["num_edges"]
    assert described["shape"] == {"num_nodes": NODES, "degree": 15, "dim": 16, "num_classes": 8, "seed": 3}


def test_columns_ascend_without_repeats_or_loops(folder: Path) -> None:
    indptr, indices = array(folder, "indptr"), array(folder, "indices")

    column = np.repeat(np.arange(NODES), np.diff(indptr))
    assert (np.diff(indptr) >= 0).all()
    assert indices.min() >= 0
    assert indices.max() < NODES
    assert (np.diff(column * NODES + indices) > 0).all()
    assert (indices != column).all()


def test_degrees_have_the_mean_asked_for_and_heavy_tails(folder: Path) -> None:
    in_degrees = np.diff(array(folder, "indptr"))
    out_degrees = np.bincount(array(folder, "indices"), minlength=NODES)

    assert in_degrees.mean() == pytest.approx(15, rel=0.02)
    assert np.median(in_degrees) < 10
    for degrees in (in_degrees, out_degrees):
        top = np.sort(degrees)[-NODES // 100 :]
        assert top.sum() > 0.1 * degrees.sum()
    # Exponent 2.5: ten times the degree, 10^1.5 = 32 times fewer nodes.
    assert (in_degrees >= 10).sum() / (in_degrees >= 100).sum() == pytest.approx(10**1.5, rel=0.15)


def test_a_tenth_of_the_nodes_is_the_source_of_nearly_half_of_the_edges(folder: Path) -> None:
    out_degrees = np.sort(np.bincount(array(folder, "indices"), minlength=NODES))[::-1]

    shares = out_degrees.cumsum() / out_degrees.sum()

    # The law alone gives x^(1/3): 0.46 and 0.22.
    assert shares[NODES // 10] == pytest.approx(0.46, abs=0.04)
    assert shares[NODES // 100] == pytest.approx(0.21, abs=0.03)


def test_popular_nodes_and_communities_lie_scattered_over_the_ids(folder: Path) -> None:
    out_degrees = np.bincount(array(folder, "indices"), minlength=NODES)
    popular = np.argsort(out_degrees)[-700:]

    counts = np.bincount(popular * 10 // NODES, minlength=10)

    assert (abs(counts - 70) < 40).all()
    labels = array(folder, "labels")
    assert (labels[1:] == labels[:-1]).mean() < 0.2


def test_the_mean_of_its_neighbours_tells_a_node_s_class_better_than_its_own_features(folder: Path) -> None:
    features, labels = array(folder, "features").astype(np.float64), array(folder, "labels")
    indptr, indices = array(folder, "indptr"), array(folder, "indices")

    means = np.add.reduceat(features[indices], indptr[:-1], axis=0) / np.diff(indptr)[:, None]

    own, neighbours = _nearest_center_accuracy(features, labels), _nearest_center_accuracy(means, labels)
    assert 0.3 < own < 0.7
    assert neighbours > own + 0.2
    assert len(np.unique(labels)) == 8


def _nearest_center_accuracy(rows: np.ndarray, labels: np.ndarray) -> float:
    centers = np.stack([rows[labels == c].mean(axis=0) for c in range(8)])
    guesses = np.argmax(rows @ centers.T - (centers**2).sum(axis=1) / 2, axis=1)
    return float((guesses == labels).mean())


def test_the_sets_are_disjoint_and_as_large_as_asked(folder: Path) -> None:
    sets = [array(folder, f"{name}_idx") for name in ("train", "val", "test")]

    assert [len(nodes) for nodes in sets] == [700, 140, 210]
    assert len(np.unique(np.concatenate(sets))) == 1050
    assert all((np.diff(nodes) > 0).all() for nodes in sets)


def test_the_same_seed_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        make_graph(tmp_path / name, GraphShape(2000, dim=4, seed=seed))

    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert len(files) == 8
    for file in files:
        first = (tmp_path / "a" / file).read_bytes()
        assert first == (tmp_path / "b" / file).read_bytes()
        assert first != (tmp_path / "c" / file).read_bytes()


def test_float16_features_are_the_rounded_ones(tmp_path: Path) -> None:
    make_graph(tmp_path / "wide", GraphShape(500, dim=4))
    make_graph(tmp_path / "half", GraphShape(500, dim=4), dtype="float16")

    np.testing.assert_array_equal(
        array(tmp_path / "half", "features"), array(tmp_path / "wide", "features").astype(np.float16)
    )


@pytest.mark.parametrize(("nodes", "degree", "classes"), [(1, 0, 1), (5, 1, 2), (40, 9, 40), (300, 60, 3)])
def test_the_smallest_and_densest_graphs_are_graphs(tmp_path: Path, nodes: int, degree: int, classes: int) -> None:
    made = make_graph(tmp_path, GraphShape(nodes, degree, dim=1, num_classes=classes))

    assert made.num_edges == array(tmp_path, "indptr")[-1]
    assert made.num_edges <= nodes * (nodes - 1)
    assert len(array(tmp_path, "labels")) == nodes
    if nodes >= 300:
        assert made.num_edges / nodes == pytest.approx(degree, rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 100_003])
def test_a_shuffle_is_a_permutation_and_knows_its_way_back(count: int) -> None:
    shuffle = Shuffle(count, np.random.default_rng(5))
    places = np.arange(count)

    there = shuffle.forward(places)

    np.testing.assert_array_equal(np.sort(there), places)
    np.testing.assert_array_equal(shuffle.backward(there), places)


def test_a_shuffle_of_all_u32_stays_below_its_count() -> None:
    shuffle = Shuffle(2**32 - 2, np.random.default_rng(5))
    places = np.array([0, 1, 2**31, 2**32 - 3])

    there = shuffle.forward(places)

    assert ((there >= 0) & (there < 2**32 - 2)).all()
    np.testing.assert_array_equal(shuffle.backward(there), places)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_nodes": 0}, "1 to 4,294,967,294 nodes"),
        ({"num_nodes": 2**32 - 1}, "1 to 4,294,967,294 nodes"),
        ({"num_nodes": 40, "degree": 10}, "mean degree of 0 to 9"),
        ({"num_nodes": 100, "num_classes": 101}, "1 to 100 classes"),
        ({"num_nodes": 100, "dim": 0}, "dim >= 1"),
        ({"num_nodes": 100, "seed": -1}, "seed >= 0"),
    ],
)
def test_impossible_shapes_are_refused(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        GraphShape(**arguments)


def test_sets_larger_than_the_graph_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="shares of at most 1"):
        Split(0.5, 0.4, 0.2)
    with pytest.raises(InvalidArgument, match="at most 100 nodes in all sets, found 101"):
        GraphLaw(GraphShape(100)).split(100, 1)


def test_a_folder_that_cannot_be_made_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageFailure, match="file"):
        make_graph(tmp_path / "file" / "graph", GraphShape(100))
