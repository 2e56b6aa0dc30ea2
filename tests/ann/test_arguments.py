"""What may not enter is refused before any work, naming the row, and leaves nothing behind."""

import threading

import numpy as np
import pytest

import outcrop
from outcrop.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted, StorageFailure

ROWS = np.arange(600, dtype=np.float32).reshape(100, 6) % 37


def with_value(value, row=41, column=3, rows=ROWS):
    changed = rows.copy()
    changed[row, column] = value
    return changed


def zeroed(row):
    changed = ROWS.copy() + 1
    changed[row] = 0
    return changed


def ids_with(value, row, dtype=np.int64):
    ids = np.arange(100, dtype=dtype)
    ids[row] = value
    return ids


BAD_BUILDS = {
    "NaN": (with_value(np.nan), None, {}, "row 41"),
    "infinity": (with_value(-np.inf), None, {}, "row 41"),
    "double beyond float32": (with_value(1e300, rows=ROWS.astype(np.float64)), None, {}, "row 41"),
    "squared length beyond float32": (with_value(1.5e19), None, {}, "row 41"),
    "zero under cosine": (zeroed(99), None, {"metric": "cosine"}, "row 99"),
    "beyond float16": (with_value(1e6), None, {"dtype": "float16"}, "row 41"),
    "beyond uint8": (with_value(256), None, {"dtype": "uint8"}, "row 41"),
    "fraction for int8": (with_value(1.5), None, {"dtype": "int8"}, "row 41"),
    "wrong dimension": (ROWS[:, :5], None, {}, "dimension 6, found 5"),
    "one axis": (ROWS.ravel(), None, {}, "shape [n, dim]"),
    "three axes": (ROWS.reshape(10, 10, 6), None, {}, "shape [n, dim]"),
    "no axis": (np.array(1.0), None, {}, "shape [n, dim]"),
    "ragged list": ([[1.0] * 6, [1.0] * 5], None, {}, "rows of one length"),
    "no rows": (ROWS[:0], None, {}, "at least one row"),
    "no batches": (iter([]), None, {}, "at least one"),
    "ragged batches": (iter([ROWS[:5], ROWS[:5, :4]]), None, {}, "batch at row 5"),
    "text": (np.full((3, 6), "x"), None, {}, "float32"),
    "complex": (ROWS.astype(np.complex64), None, {}, "float32"),
    "not vectors at all": (7, None, {}, "array"),
    "too few ids": (ROWS, np.arange(99), {}, "100 vectors"),
    "negative id": (ROWS, ids_with(-1, 17), {}, "row 17"),
    "id beyond int64": (ROWS, ids_with(1 << 63, 23, np.uint64), {}, "row 23"),
    "id twice": (ROWS, ids_with(12, 63), {}, "row 63: id 12 stands in row 12"),
    "fractional ids": (ROWS, np.arange(100) + 0.5, {}, "integers"),
    "text for int64 ids": (ROWS, [str(n) for n in range(100)], {}, "strings"),
    "no strings": (ROWS, None, {"id_type": "string"}, "needs a string"),
    "string twice": (ROWS, ["a", *map(str, range(98)), "a"], {"id_type": "string"}, "row 99"),
    "empty string": (ROWS, ["", *map(str, range(99))], {"id_type": "string"}, "row 0"),
    "lone surrogate": (ROWS, ["\ud800", *map(str, range(99))], {"id_type": "string"}, "row 0"),
    "string too long": (ROWS, ["x" * 2000, *map(str, range(99))], {"id_type": "string"}, "row 0"),
    "numbers for string ids": (ROWS, list(range(100)), {"id_type": "string"}, "row 0"),
    "too few strings": (ROWS, ["a"], {"id_type": "string"}, "100 strings"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BUILDS)
def test_a_build_refuses(database, case):
    vectors, ids, spec, text = BAD_BUILDS[case]
    collection = database.create_collection("c", **{"dim": 6, **spec})
    with pytest.raises(InvalidArgument) as caught:
        collection.build(vectors, ids).wait()
    assert text in str(caught.value)
    assert_nothing_left(database)
    with pytest.raises(NotFound):
        collection.search(ROWS[0])


def assert_nothing_left(database):
    assert list((database._root.path / "tmp").iterdir()) == []
    assert database._root.list_jobs() == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"code": "pq"}, "code"),
        ({"num_centroids": 0}, "num_centroids"),
        ({"copies": 17}, "copies"),
        ({"copies": 1.5}, "copies"),
        ({"copy_rule": "closest"}, "copy_rule"),
        ({"calibration_queries": with_value(np.nan)}, "queries: row 41"),
        ({"calibration_queries": ROWS[:, :3]}, "queries"),
        ({"calibration_queries": ROWS[:0]}, "calibration_queries"),
        ({"memory": "many"}, "size in bytes"),
    ],
)
def test_a_build_refuses_options(database, options, text):
    collection = database.create_collection("c", dim=6)
    with pytest.raises(InvalidArgument, match=text):
        collection.build(ROWS, **options).wait()
    assert_nothing_left(database)


def test_sq8_of_bytes_is_refused(database):
    collection = database.create_collection("c", dim=6, dtype="uint8")
    with pytest.raises(InvalidArgument, match="sq8"):
        collection.build(ROWS.astype(np.uint8), code="sq8").wait()
    assert_nothing_left(database)


def test_too_little_memory_for_a_build_is_said_with_what_it_needs(database):
    collection = database.create_collection("c", dim=6)
    with pytest.raises(ResourceExhausted, match="at least 32"):
        collection.build(ROWS, memory="1MiB")


@pytest.mark.parametrize(
    "spec",
    [
        {"dim": 0},
        {"dim": 32_769},
        {"dim": True},
        {"dim": "6"},
        {"dim": 6, "metric": "euclid"},
        {"dim": 6, "dtype": "float64"},
        {"dim": 6, "dtype": "uint8", "metric": "cosine"},
        {"dim": 6, "id_type": "uuid"},
    ],
    ids=str,
)
def test_a_collection_refuses(database, spec):
    with pytest.raises(InvalidArgument):
        database.create_collection("c", **spec)
    assert database.list_collections() == []


@pytest.mark.parametrize("name", ["", "../c", "a/b", ".hidden", "x" * 256])
def test_a_collection_refuses_names(database, name):
    with pytest.raises(InvalidArgument):
        database.create_collection(name, dim=4)


def test_collections_are_found_by_name(database):
    database.create_collection("c", dim=4)
    with pytest.raises(AlreadyExists):
        database.create_collection("c", dim=4)
    with pytest.raises(NotFound):
        database.collection("d")


@pytest.fixture(scope="module")
def searchable(tmp_path_factory):
    with outcrop.connect(tmp_path_factory.mktemp("searchable"), reader="memory") as database:
        collection = database.create_collection("c", dim=6)
        collection.build(ROWS, calibration_queries=ROWS[:2]).wait()
        yield collection


@pytest.mark.parametrize(
    ("queries", "options", "text"),
    [
        (with_value(np.nan), {}, "row 41"),
        (with_value(np.inf), {}, "row 41"),
        (ROWS[:, :5], {}, r"\[n, 6\]"),
        (ROWS[0, :5], {}, r"\[n, 6\]"),
        (1.0, {}, "queries"),
        (np.full((2, 6), "x"), {}, "float32"),
        (ROWS, {"k": 0}, "k:"),
        (ROWS, {"k": -3}, "k:"),
        (ROWS, {"k": 16_385}, "k:"),
        (ROWS, {"k": 2.0}, "k:"),
        (ROWS, {"k": True}, "k:"),
        (ROWS, {"recall": 0.0}, "recall"),
        (ROWS, {"recall": 1.01}, "recall"),
        (ROWS, {"recall": float("nan")}, "recall"),
        (ROWS, {"recall": 0.9, "nprobe": 3}, "exclude"),
        (ROWS, {"nprobe": 0}, "nprobe"),
        (ROWS, {"nprobe": 1.5}, "nprobe"),
        (ROWS, {"nprobe": 3, "rerank": -1}, "rerank"),
        (ROWS, {"rerank": "all"}, "rerank"),
        (ROWS, {"recall": "0.9"}, "recall"),
        (ROWS, {"recall": [0.9]}, "recall"),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else str(value),
)
def test_a_search_refuses(searchable, queries, options, text):
    with pytest.raises(InvalidArgument, match=text):
        searchable.search(queries, **options)
    assert searchable.search(ROWS[:3], 4).ids.shape == (3, 4)


def test_what_was_asked_before_is_no_excuse(searchable):
    searchable.search(ROWS[:3], 4, nprobe=1, rerank=0)
    for options in ({"nprobe": True, "rerank": 0}, {"nprobe": 1.0, "rerank": 0}, {"nprobe": 1, "rerank": False}):
        with pytest.raises(InvalidArgument, match="expected"):
            searchable.search(ROWS[:3], 4, **options)


def test_a_search_under_cosine_refuses_the_zero_vector(built):
    collection = built(ROWS + 1, "cosine")
    with pytest.raises(InvalidArgument, match="row 99"):
        collection.search(zeroed(99))


def test_searching_for_no_query_finds_nothing(built):
    for options in ({}, {"exact": True}):
        found = built(ROWS, name=f"c{len(options)}").search(ROWS[:0], 3, **options)
        assert found.ids.shape == found.distances.shape == (0, 3)


def test_before_the_first_build_there_is_nothing_to_search(database):
    collection = database.create_collection("c", dim=6)
    for call in (collection.open, collection.statistics, lambda: collection.search(ROWS), collection.clear_cache):
        with pytest.raises(NotFound):
            call()
    assert collection.count() == 0
    assert collection.info().version is None


def test_tiny_lengths_are_directions_too(built):
    """Their squares are below float32's smallest number."""
    rows = (ROWS + 1) * np.float32(1e-30)
    found = built(rows, "cosine").search(rows[:5], 1, nprobe=1000)
    assert np.abs(found.distances).max() < 1e-5


def test_queries_of_any_numeric_type_and_shape(built):
    collection = built(ROWS)
    expected = collection.search(ROWS[:4], 3).ids
    for queries in (
        ROWS[:4].astype(np.float64),
        ROWS[:4].astype(np.int64),
        ROWS[:4].tolist(),
        np.asfortranarray(ROWS[:4]),
    ):
        assert np.array_equal(collection.search(queries, 3).ids, expected)
    assert np.array_equal(collection.search(ROWS[0], 3).ids, expected[:1])
    before = ROWS.copy()
    collection.search(ROWS, 3)
    assert np.array_equal(ROWS, before)


def test_vectors_of_any_layout_and_kind(database, distances_by_definition, nearest_expected):
    true = distances_by_definition("l2", ROWS, ROWS[:3])
    kinds = {
        "list": ROWS.tolist(),
        "fortran": np.asfortranarray(ROWS),
        "double": ROWS.astype(np.float64),
        "bytes": ROWS.astype(np.uint8),
        "batches": (ROWS[at : at + 7] for at in range(0, 100, 7)),
        "strided": np.repeat(ROWS, 2, axis=1)[:, ::2],
    }
    for name, vectors in kinds.items():
        collection = database.create_collection(name, dim=6)
        collection.build(vectors, calibration_queries=ROWS[:2]).wait()
        nearest_expected(collection.search(ROWS[:3], 5, nprobe=100), true, 5)
    assert_nothing_left(database)


def test_a_root_opened_for_reading_builds_nothing(tmp_path, built, database):
    built(ROWS)
    with outcrop.connect(database._root.path, read_only=True) as reading:
        assert reading.collection("c").search(ROWS[:2], 3).ids.shape == (2, 3)
        with pytest.raises((InvalidArgument, StorageFailure)):
            reading.collection("c").build(ROWS).wait()
    with pytest.raises(NotFound):
        outcrop.connect(tmp_path / "absent", read_only=True)
    with pytest.raises(NotFound):
        outcrop.connect(tmp_path / "absent", create=False)


def test_searches_go_on_while_versions_come_and_collections_are_refreshed(database):
    """Each sees one whole version, the old or the new."""
    names = {version: [f"{version}-{row}" for row in range(100)] for version in range(4)}
    collection = database.create_collection("c", dim=6, id_type="string")
    collection.build(ROWS, names[0], calibration_queries=ROWS[:2]).wait()
    ended, problems = threading.Event(), []

    def search(exact):
        while not ended.is_set():
            try:
                found = collection.search(ROWS[:7], 100, nprobe=1000, exact=exact)
                versions = {name.split("-")[0] for name in found.ids.ravel()}
                if len(versions) != 1 or len(set(found.ids[0])) != 100:
                    problems.append(versions)
                collection.statistics()
            except Exception as error:
                problems.append(repr(error))

    searches = [threading.Thread(target=search, args=(number % 2 == 0,)) for number in range(3)]
    for thread in searches:
        thread.start()
    for version in range(1, 4):
        collection.build(ROWS, names[version], calibration_queries=ROWS[:2]).wait()
        collection.refresh()
    ended.set()
    for thread in searches:
        thread.join()
    assert problems == []
    assert set(collection.search(ROWS[0], 100, nprobe=1000).ids[0]) == set(names[3])
