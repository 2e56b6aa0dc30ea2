"""Search that probes every list finds what brute force finds, whatever the vectors, their type and their ids."""

import dataclasses

import numpy as np
import pytest

from outcrop.ann.build import options as build_options
from outcrop.ann.policy import Policy

ALL = 1 << 20

CASES = [
    *[(dtype, metric, code) for dtype in ("float32", "float16") for metric in ("l2", "ip", "cosine")
      for code in ("raw", "sq8")],
    *[(dtype, metric, "raw") for dtype in ("uint8", "int8") for metric in ("l2", "ip")],
]  # fmt: skip


def change_sizes(monkeypatch, **changes):
    """Let the next build have other sizes than its data ask for."""
    original = build_options.sizes_of
    monkeypatch.setattr(
        "outcrop.ann.build.builder.sizes_of", lambda *given: dataclasses.replace(original(*given), **changes)
    )


# Normalised vectors are rounded to half precision when they are stored.
TOLERANCE = {"float16": 2e-3}


@pytest.mark.parametrize(("dtype", "metric", "code"), CASES, ids=["-".join(case) for case in CASES])
def test_probing_every_list_equals_brute_force(
    built, vectors, distances_by_definition, nearest_expected, dtype, metric, code
):
    stored, queries = vectors(300, 24, dtype), vectors(12, 24, dtype)
    collection = built(stored, metric, code=code, num_centroids=12)
    true = distances_by_definition(metric, stored, queries)
    tolerance = TOLERANCE.get(dtype)
    for k in (1, 10, 400):
        found = collection.search(queries, k, nprobe=ALL, rerank=300)
        nearest_expected(found, true, k, tolerance=tolerance)
        assert found.exact_distances
        nearest_expected(collection.search(queries, k, exact=True), true, k, tolerance=tolerance)
    if code == "sq8":
        by_codes = collection.search(queries, 10, nprobe=ALL, rerank=0)
        assert not by_codes.exact_distances
        nearest_expected(by_codes, true, 10, tolerance=0.05)


@pytest.mark.parametrize("copy_rule", ["nearest", "soar", "rng"])
@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_copies_are_one_result(built, vectors, distances_by_definition, nearest_expected, copy_rule, code):
    stored, queries = vectors(400, 40), vectors(10, 40)
    collection = built(stored, code=code, num_centroids=25, copies=4, copy_rule=copy_rule)
    properties = collection.info().properties
    assert properties["num_entries"] > 400
    found = collection.search(queries, 50, nprobe=ALL, rerank=400)
    nearest_expected(found, distances_by_definition("l2", stored, queries), 50)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_sets_of_a_few_vectors(built, vectors, distances_by_definition, nearest_expected, dtype, n):
    stored, queries = vectors(n, 40, dtype), vectors(3, 40, dtype)
    collection = built(stored)
    true = distances_by_definition("l2", stored, queries)
    for found in (collection.search(queries, 5), collection.search(queries, 5, exact=True)):
        nearest_expected(found, true, 5)
    assert collection.count() == n


@pytest.mark.parametrize(("dim", "code"), [(1, "raw"), (1, "sq8"), (4096, "raw"), (4096, "sq8")])
def test_the_least_and_a_large_dimension(built, vectors, distances_by_definition, nearest_expected, dim, code):
    stored, queries = vectors(60, dim), vectors(4, dim)
    collection = built(stored, code=code)
    true = distances_by_definition("l2", stored, queries)
    nearest_expected(collection.search(queries, 10, nprobe=ALL, rerank=60), true, 10)
    nearest_expected(collection.search(queries, 70, exact=True), true, 70)


def test_one_list(built, vectors, distances_by_definition, nearest_expected):
    stored, queries = vectors(200, 8), vectors(5, 8)
    collection = built(stored, num_centroids=1)
    assert collection.info().properties["num_lists"] == 1
    nearest_expected(collection.search(queries, 10), distances_by_definition("l2", stored, queries), 10)


def test_as_many_centroids_as_vectors(built, vectors, distances_by_definition, nearest_expected):
    stored, queries = vectors(50, 8), vectors(5, 8)
    collection = built(stored, num_centroids=1000)
    nearest_expected(collection.search(queries, 10, nprobe=ALL), distances_by_definition("l2", stored, queries), 10)


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_duplicates_become_a_chain_of_lists_and_none_is_dropped(built, vectors, code):
    stored = np.repeat(vectors(1, 64), 3000, axis=0)
    collection = built(stored, code=code, num_centroids=30)
    properties = collection.info().properties
    assert properties["num_lists"] > properties["num_centroids"] or code == "sq8"
    found = collection.search(stored[:2], 3000, nprobe=ALL, rerank=3000)
    assert np.array_equal(found.ids, np.tile(np.arange(3000), (2, 1))), "equal distances are ordered by id"
    assert (found.distances == 0).all()
    assert np.array_equal(collection.search(stored[0], 3000, exact=True).ids[0], np.arange(3000))
    assert np.array_equal(np.sort(collection.search(stored[0], 3000, recall=0.9).ids[0]), np.arange(3000))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_set_in_which_most_vectors_are_repeated(
    built, vectors, random_numbers, distances_by_definition, nearest_expected, dtype
):
    few = vectors(20, 16, dtype)
    stored = np.concatenate([few[random_numbers.integers(0, 3, 900)], few[random_numbers.integers(0, 20, 200)]])
    collection = built(stored, num_centroids=60)
    true = distances_by_definition("l2", stored, few)
    nearest_expected(collection.search(few, 1100, nprobe=ALL), true, 1100)
    nearest_expected(collection.search(few, 10, nprobe=ALL), true, 10)


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_a_centroid_with_more_entries_than_a_list_may_have_owns_a_chain(
    built, vectors, distances_by_definition, nearest_expected, monkeypatch, code
):
    stored, queries = vectors(500, 33), vectors(8, 33)
    change_sizes(monkeypatch, max_list_entries=7)
    collection = built(stored, code=code, num_centroids=10, copies=3, copy_rule="nearest")
    properties = collection.info().properties
    assert properties["num_lists"] >= properties["num_entries"] / 7 > 100
    true = distances_by_definition("l2", stored, queries)
    nearest_expected(collection.search(queries, 30, nprobe=ALL, rerank=500), true, 30)
    nearest_expected(collection.search(queries, 30, exact=True), true, 30)


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_a_build_in_many_small_parts(
    built, vectors, random_numbers, distances_by_definition, nearest_expected, monkeypatch, code
):
    """Several chunks, batches, groups of lists and ranges of rows, each a few kilobytes."""
    stored, queries = vectors(3000, 33), vectors(8, 33)
    ids = random_numbers.permutation(10**7)[:3000]
    change_sizes(monkeypatch, batch_rows=170, chunk_bytes=60_000, num_buckets=13)
    monkeypatch.setattr("outcrop.ann.build.assignment_file._BATCH_ROWS", 37)
    monkeypatch.setattr("outcrop.ann.build.lists.BATCH_ROWS", 53)
    monkeypatch.setattr("outcrop.ann.build.truth._BATCH_ROWS", 41)
    collection = built(stored, ids=ids, code=code, num_centroids=120)
    true = distances_by_definition("l2", stored, queries)
    nearest_expected(collection.search(queries, 20, nprobe=ALL, rerank=3000), true, 20, ids)
    nearest_expected(collection.search(queries, 20, exact=True), true, 20, ids)


@pytest.mark.parametrize("code", ["raw", "sq8"])
@pytest.mark.parametrize("first", [0, (1 << 32) - 150, (1 << 63) - 300], ids=["small", "around 2^32", "up to 2^63 - 1"])
def test_ids_of_64_bits(built, vectors, random_numbers, distances_by_definition, nearest_expected, code, first):
    stored, queries = vectors(300, 16), vectors(5, 16)
    ids = first + random_numbers.permutation(300)
    collection = built(stored, ids=ids, code=code)
    assert collection.info().properties["id_bytes"] == (4 if first == 0 else 8)
    true = distances_by_definition("l2", stored, queries)
    nearest_expected(collection.search(queries, 10, nprobe=ALL, rerank=300), true, 10, ids)
    nearest_expected(collection.search(queries, 10, exact=True), true, 10, ids)


def test_string_ids(built, vectors, distances_by_definition, nearest_expected):
    stored, queries = vectors(120, 16), vectors(5, 16)
    names = [f"ärger/{n}" if n % 2 else "x" * (1 + n * 8) for n in range(120)]
    collection = built(stored, ids=names, id_type="string")
    true = distances_by_definition("l2", stored, queries)
    for found in (collection.search(queries, 130, nprobe=ALL), collection.search(queries, 130, exact=True)):
        assert found.ids.dtype == object
        assert found.ids[0, 125] is None
        nearest_expected(found, true, 130, np.array(names, object))


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("dim", [16, 20])
def test_queries_that_are_not_bytes_find_byte_vectors(
    built, vectors, random_numbers, distances_by_definition, nearest_expected, metric, dtype, dim
):
    """faiss cuts queries to bytes when it compares them with centroids of bytes of some dimensions."""
    stored = vectors(1500, dim, dtype)
    queries = (1.5 * vectors(40, dim, dtype).astype(np.float32) - 60 + random_numbers.random((40, dim))).astype(
        np.float32
    )
    queries[0] = 0.5
    collection = built(stored, metric, num_centroids=60, copies=1)
    true = distances_by_definition(metric, stored, queries)
    nearest_expected(collection.search(queries, 10, nprobe=ALL), true, 10)
    centroids = collection.open().centroids
    by_definition = distances_by_definition(metric, centroids.reconstructed(), queries)
    distances, probes = centroids.search(queries, 7)
    # Terms of an inner product cancel, so what float32 rounds off goes by the largest of them.
    rounding = {"rtol": 1e-5, "atol": 1e-6 * float(np.abs(by_definition).max())}
    assert np.allclose(distances, np.sort(by_definition, axis=1)[:, :7], **rounding)
    assert np.allclose(np.take_along_axis(by_definition, probes.astype(np.int64), axis=1), distances, **rounding)
    # One query of the batch that consists of bytes is found by the other way.
    mixed = np.concatenate([queries[:3], stored[:1].astype(np.float32)])
    together, _ = centroids.search(mixed, 5)
    alone, _ = centroids.search(mixed[3:], 5)
    assert np.array_equal(together[3:], alone)


@pytest.mark.parametrize("code", ["raw", "sq8"])
@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_the_triangle_bound_loses_nothing(built, vectors, distances_by_definition, nearest_expected, code, offset):
    """In waves, lists are skipped when even their farthest entry cannot be near enough; far from the origin too."""
    stored = (8 * vectors(2000, 20) + offset).astype(np.float32)
    queries = (stored[:30] + vectors(30, 20)).astype(np.float32)
    collection = built(stored, code=code, num_centroids=80, copies=2, copy_rule="soar")
    index = collection.open()
    rerank = 0 if code == "raw" else 100
    found = index.search_by(queries, Policy(10, 1.0, ALL, rerank, first_wave=2, next_wave=3))
    assert found.usage.skipped > 0
    nearest_expected(found, distances_by_definition("l2", stored, queries), 10, tolerance=1e-4)
