"""A scan gives out every stored vector once, as it was given, in an order that lasts; it can be resumed and left."""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from outcrop.ann import stored_rows
from outcrop.ann.stored_rows import stored_chunks
from outcrop.embedded import Collection, Database
from outcrop.errors import Cancelled, CorruptFile, DeadlineExceeded, InvalidArgument, NotFound
from outcrop.stop import Stop

Built = Callable[..., Collection]
Vectors = Callable[..., np.ndarray]

CASES: list[tuple[str, str, str]] = [
    ("float32", "l2", "raw"),
    ("float32", "ip", "sq8"),
    ("float32", "cosine", "sq8"),
    ("float16", "l2", "sq8"),
    ("float16", "cosine", "raw"),
    ("uint8", "l2", "raw"),
    ("int8", "ip", "raw"),
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_rows, "_CHUNK_BYTES", 5000)


def whole(scan: Any) -> tuple[np.ndarray, np.ndarray]:
    ids, vectors = zip(*scan, strict=True)
    return np.concatenate(ids), np.concatenate(vectors)


@pytest.mark.parametrize(("dtype", "metric", "code"), CASES, ids=["-".join(case) for case in CASES])
@pytest.mark.parametrize("id_type", ["int64", "string"])
def test_every_vector_comes_once_as_it_was_given(
    built: Built, vectors: Vectors, dtype: str, metric: str, code: str, id_type: str
) -> None:
    rows = vectors(300, 40, dtype)
    ids: Any = np.arange(300) * 7 + 5 if id_type == "int64" else np.array([f"id {i}" for i in range(300)], object)
    collection = built(rows, metric, code=code, ids=ids, id_type=id_type, num_centroids=12, copies=2)

    found_ids, found = whole(collection.scan(64))

    assert found.dtype == rows.dtype
    assert sorted(found_ids.tolist()) == sorted(ids.tolist())
    expected = dict(zip(ids.tolist(), rows, strict=True))
    given = np.stack([expected[value] for value in found_ids.tolist()])
    if metric == "cosine":
        floats = given.astype(np.float32)
        given = floats / np.linalg.norm(floats, axis=1, keepdims=True)
        np.testing.assert_allclose(found.astype(np.float32), given, atol=1e-3 if dtype == "float16" else 1e-6)
    else:
        assert np.array_equal(found, given)


@pytest.mark.parametrize("code", ["raw", "sq8"])
@pytest.mark.parametrize("batch_rows", [1, 7, 100, 299, 300, 301, 1 << 40])
def test_batches_are_as_large_as_asked(built: Built, vectors: Vectors, code: str, batch_rows: int) -> None:
    collection = built(vectors(300, 40), code=code, num_centroids=12)

    scan = collection.scan(batch_rows)
    sizes = []
    for ids, rows in scan:
        assert rows.shape == (len(ids), 40)
        assert rows.flags.c_contiguous
        sizes.append(len(ids))
        assert scan.row == sum(sizes)

    full, rest = divmod(300, batch_rows)
    assert sizes == [batch_rows] * full + [rest] * (rest > 0)
    assert (scan.version, scan.num_rows) == (1, 300)


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_a_scan_goes_on_from_any_row(built: Built, vectors: Vectors, code: str) -> None:
    # Some centroids own empty lists, or only copies.
    collection = built(np.repeat(vectors(60, 40), 5, axis=0), code=code, num_centroids=25, copies=3)
    ids, rows = whole(collection.scan())

    for start in [*range(0, 300, 11), 299]:
        found_ids, found = whole(collection.scan(50, start_row=start, version=1))
        assert np.array_equal(found_ids, ids[start:])
        assert np.array_equal(found, rows[start:])
    assert list(collection.scan(start_row=300)) == []


def test_a_scan_keeps_its_version_while_a_new_one_is_built(built: Built, vectors: Vectors) -> None:
    rows = vectors(200, 40)
    collection = built(rows)
    scan = collection.scan(90)
    first = next(scan)

    collection.build(vectors(50, 40)).wait()
    rest = list(scan)

    ids = np.concatenate([first[0], *(ids for ids, _ in rest)])
    assert sorted(ids.tolist()) == list(range(200))
    assert whole(collection.scan())[0].size == 50
    with pytest.raises(NotFound, match="version 1 is not the open one, which is 2"):
        collection.scan(version=1)


@pytest.mark.parametrize("leave", ["close", "with", "collected", "error"])
def test_a_scan_that_is_left_gives_its_version_back(
    built: Built, vectors: Vectors, database: Database, leave: str
) -> None:
    collection = built(vectors(200, 40))
    stop = Stop()
    scan = collection.scan(10, stop=stop)
    next(scan)
    collection.build(vectors(50, 40)).wait()  # the scan holds the first version
    versions = lambda: [manifest.version for manifest in database._root.list_versions(collection.id)]  # noqa: E731
    database.gc()
    assert versions() == [1, 2]

    if leave == "with":
        with scan:
            pass
    elif leave == "close":
        scan.close()
        assert list(scan) == []
        scan.close()
    elif leave == "collected":
        del scan
        gc.collect()
    else:
        stop.set()
        with pytest.raises(Cancelled):
            list(scan)

    database.gc()
    assert versions() == [2]


def test_what_cannot_be_scanned_is_refused_before_any_read(built: Built, vectors: Vectors, database: Database) -> None:
    collection = built(vectors(200, 40))
    for batch_rows in (0, -1, 1.5, True, "7"):
        with pytest.raises(InvalidArgument, match="batch_rows: expected at least 1"):
            collection.scan(batch_rows)  # type: ignore[arg-type]
    for start_row in (-1, 201, 2.0):
        with pytest.raises(InvalidArgument, match="start_row: expected 0 to 200"):
            collection.scan(start_row=start_row)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no version yet"):
        database.create_collection("empty", dim=3).scan()


def test_a_scan_can_be_stopped_and_resumed(built: Built, vectors: Vectors) -> None:
    collection = built(vectors(300, 40))
    expected = whole(collection.scan())
    stop = Stop()
    scan = collection.scan(40, stop=stop)
    parts = [next(scan), next(scan)]
    read = collection.statistics().reader.read_bytes
    stop.set()

    with pytest.raises(Cancelled):
        list(scan)
    assert collection.statistics().reader.read_bytes - read < 40_000  # the chunk at hand

    parts += collection.scan(40, start_row=scan.row)
    assert np.array_equal(np.concatenate([ids for ids, _ in parts]), expected[0])
    with pytest.raises(DeadlineExceeded):
        collection.scan(stop=Stop(0))


@pytest.mark.parametrize("code", ["raw", "sq8"])
def test_lists_that_hold_other_rows_than_the_manifest_says_are_damage(
    built: Built, vectors: Vectors, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = built(vectors(300, 40), code=code)
    chunks = list(stored_chunks(collection.open()))
    for found, text in ((chunks[:-1], "found 2|found 1"), ([*chunks, chunks[0]], "or more")):
        monkeypatch.setattr(stored_rows, "stored_chunks", lambda *_, found=found: iter(found))
        with pytest.raises(CorruptFile, match=f"expected 300 stored vectors, .*{text}"):
            list(collection.scan())


def test_reads_of_a_scan_are_counted(built: Built, vectors: Vectors) -> None:
    collection = built(vectors(300, 40), code="raw")
    before = collection.statistics().reader

    list(collection.scan())

    after = collection.statistics().reader
    assert after.read_bytes - before.read_bytes >= 300 * 160
    assert after.reads > before.reads
