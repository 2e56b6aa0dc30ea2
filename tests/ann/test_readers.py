"""However the bytes are read, shared, cached or divided among threads, the answer is the same, bit for bit."""

import numpy as np
import pytest

import outcrop
from outcrop.ann.edge import query_rows
from outcrop.ann.policy import Policy
from outcrop.errors import StorageFailure

ALL = 1 << 20


@pytest.fixture(scope="module", params=["uint8 raw", "float32 sq8", "float16 raw ip"])
def root(request, tmp_path_factory):
    """A root on disk with one collection, and queries for it."""
    dtype, code, *metric = request.param.split()
    random = np.random.default_rng(3)
    rows = np.repeat(random.normal(size=(300, 40)) * 40 + 128, 5, axis=0) + random.normal(size=(1500, 40)) * 3
    rows = np.clip(np.rint(rows), 0, 255).astype(dtype)
    queries = rows[random.permutation(1500)[:70]]
    path = tmp_path_factory.mktemp("root")
    with outcrop.connect(path, memory="64MiB", threads=2, reader="memory") as database:
        collection = database.create_collection("c", dim=40, dtype=dtype, metric=metric[0] if metric else "l2")
        options = {"num_centroids": 70, "copies": 2, "copy_rule": "soar", "calibration_queries": queries[:4]}
        collection.build(rows, code=code, **options).wait()
    return path, queries


POLICIES = [
    Policy(10, 1.0, 9, 30),
    Policy(10, 1.0, ALL, 200),
    Policy(50, 1.0, 30, 60, first_wave=3, next_wave=5, patience=1),
    Policy(10, 1.0, 30, 0, ratio=1.5),
]


def answers(collection, queries, **options):
    found = [collection.open()._search_all(*typed(collection, queries), policy, options.get("threads", 1), True)
             for policy in POLICIES]  # fmt: skip
    found.append(collection.search(queries, 10, recall=0.9, **options))
    found.append(collection.search(queries, 10, exact=True))
    return found


def typed(collection, queries):
    return query_rows(collection.spec, queries)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.distances.view(np.uint32), other.distances.view(np.uint32))


def opened(path, reader, **options):
    return outcrop.connect(path, read_only=True, reader=reader, **{"memory": "64MiB", "threads": 2, **options})


@pytest.fixture
def expected(root):
    with opened(root[0], "memory") as database:
        return answers(database.collection("c"), root[1])


@pytest.mark.parametrize("reader", ["io_uring", "pread"])
def test_readers_agree(root, expected, reader):
    path, queries = root
    try:
        database = opened(path, reader)
        database.collection("c").open()
    except StorageFailure as error:
        pytest.skip(str(error))
    with database:
        collection = database.collection("c")
        assert collection.statistics().reader.kind == reader
        assert_same(answers(collection, queries), expected)
        again = answers(collection, queries)
        assert_same(again, expected)
        assert sum(found.usage.cache_hits for found in again) > 0
        collection.clear_cache()
        assert collection.statistics().index.cache_hits == 0
        assert_same(answers(collection, queries), expected)


def test_the_cache_changes_nothing_but_reads(root, expected):
    path, queries = root
    with opened(path, "pread") as large, opened(path, "pread", memory="1200KiB", threads=1) as small:
        for database in (large, small):
            collection = database.collection("c")
            first, second = answers(collection, queries), answers(collection, queries)
            assert_same(first, expected)
            assert_same(second, expected)
            assert second[0].usage.reads <= first[0].usage.reads


def test_threads_and_batches_change_nothing(root, expected):
    path, queries = root
    with opened(path, "memory") as database:
        collection = database.collection("c")
        assert_same(answers(collection, queries, threads=2), expected)
        for share_reads in (False, True):
            for options in ({"nprobe": 9, "rerank": 30}, {"recall": 0.9}):
                many = collection.search(queries, 10, share_reads=share_reads, threads=2, **options)
                one_by_one = [collection.search(query, 10, threads=1, **options) for query in queries]
                assert np.array_equal(many.ids, np.concatenate([found.ids for found in one_by_one]))
                assert np.array_equal(many.distances, np.concatenate([found.distances for found in one_by_one]))


def test_shared_reads_are_fewer(root):
    path, queries = root
    with opened(path, "memory", memory="1200KiB", threads=1) as database:
        collection = database.collection("c")
        many = np.repeat(queries, 4, axis=0)
        collection.clear_cache()
        alone = collection.search(many, 10, nprobe=20, share_reads=False)
        collection.clear_cache()
        shared = collection.search(many, 10, nprobe=20)
        assert shared.usage.reads <= alone.usage.reads
        assert shared.usage.lists == alone.usage.lists
        assert shared.usage.bytes % 4096 == 0


def test_an_inverted_file_over_centroids_gives_one_query_what_it_gives_many(built, vectors):
    """Above 4,096 centroids faiss clusters them; it compares a batch in other ways than one query."""
    stored, queries = vectors(9000, 8), vectors(60, 8)
    collection = built(stored, code="raw", num_centroids=5500, copies=1)
    assert collection.open().centroids.num_centroids > 4096
    many = collection.search(queries, 10, nprobe=9)
    one_by_one = [collection.search(query, 10, nprobe=9) for query in queries]
    assert np.array_equal(many.ids, np.concatenate([found.ids for found in one_by_one]))
    assert (collection.search(queries, 10, nprobe=ALL).ids == collection.search(queries, 10, exact=True).ids).all()
