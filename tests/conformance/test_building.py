"""Building a version from vectors of any kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.refusals import refusal

from outcrop.errors import InvalidArgument, Unavailable
from outcrop.types import Manifest

BUILD = {"memory": "64MiB", "num_centroids": 20, "copies": 1, "code": "raw"}


def given(kind: str, vectors: Any, folder: Path) -> Any:
    """Vectors in one of the forms that a build takes."""
    if kind == "map":
        np.save(folder / "given.npy", vectors)
        return np.load(folder / "given.npy", mmap_mode="r")
    if kind == "batches":
        return (vectors[row : row + 150] for row in range(0, len(vectors), 150))
    return {"array": vectors, "list": vectors.tolist(), "strided": np.repeat(vectors, 2, axis=0)[::2]}[kind]


@pytest.mark.parametrize("kind", ["array", "map", "batches", "list", "strided"])
def test_vectors_may_come_in_any_form(database: Any, vectors: Any, tmp_path: Path, kind: str) -> None:
    collection = database.create_collection("docs", dim=12)

    manifest = collection.build(given(kind, vectors, tmp_path), **BUILD).wait()

    assert isinstance(manifest, Manifest)
    assert manifest.version == 1
    assert manifest.properties["num_rows"] == 400
    assert np.array_equal(collection.search(vectors[:30], 1, exact=True).ids[:, 0], np.arange(30))


@pytest.mark.parametrize("ids", ["numbers", "texts", "none"])
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_neighbours_are_those_of_the_embedded_engine(
    database: Any, reference: Any, vectors: Any, metric: str, ids: str
) -> None:
    names = {"numbers": np.arange(400)[::-1] * 7, "texts": [f"é{row}" for row in range(400)], "none": None}[ids]
    found = []
    for place in (reference, database):
        collection = place.create_collection(
            "docs", dim=12, metric=metric, id_type="string" if ids == "texts" else "int64"
        )
        manifest = collection.build(vectors, names, **BUILD).wait()
        found.append((collection.search(vectors[:40], 7), manifest))

    (expected, one), (hits, other) = found
    assert hits.ids.dtype == expected.ids.dtype
    assert np.array_equal(hits.ids, expected.ids)
    assert np.array_equal(hits.distances, expected.distances)
    assert [(file.name, file.kind, file.size_bytes) for file in other.files] == [
        (file.name, file.kind, file.size_bytes) for file in one.files
    ]


def test_a_job_tells_how_far_it_is_and_ends_with_a_manifest(database: Any, vectors: Any) -> None:
    collection = database.create_collection("docs", dim=12)
    told: list[Any] = []

    job = collection.build(vectors, **BUILD)
    manifest = job.wait(progress=told.append)

    assert job.name == "build of docs"
    assert job.done
    assert job.progress.fraction == 1.0
    assert [progress.fraction for progress in told] == sorted(progress.fraction for progress in told)
    assert job.wait() == manifest


def test_waiting_may_end_before_the_work(database: Any, vectors: Any) -> None:
    job = database.create_collection("docs", dim=12).build(vectors, **BUILD)

    with pytest.raises(Unavailable, match=r"build of docs: not finished after 0\.001 seconds; it goes on, wait again"):
        job.wait(timeout=0.001)

    assert job.wait().version == 1


def test_a_new_version_takes_the_place_of_the_old_one(database: Any, vectors: Any) -> None:
    collection = database.create_collection("docs", dim=12)
    collection.build(vectors, **BUILD).wait()
    assert collection.search(vectors[5], 1).ids[0, 0] == 5

    assert collection.build(vectors[::-1], **BUILD).wait().version == 2

    collection.refresh()
    assert collection.search(vectors[5], 1).ids[0, 0] == 394
    assert collection.info().version == 2


def test_what_was_built_is_sound(database: Any, reference: Any, vectors: Any) -> None:
    told: list[Any] = []
    reports = []
    for place in (reference, database):
        collection = place.create_collection("docs", dim=12)
        collection.build(vectors, **BUILD).wait()
        reports.append(collection.verify(memory="64MiB", progress=told.append))

    assert reports[1] == reports[0]
    assert reports[1].problems == ()
    assert told[-1].fraction == 1.0


BAD = np.ones((4, 12), np.float32)
BAD_INPUTS: dict[str, Any] = {
    "other dimension": lambda c: c.build(BAD[:, :3]),
    "one dimension": lambda c: c.build(BAD[0]),
    "none at all": lambda c: c.build(BAD[:0]),
    "texts": lambda c: c.build([["a"] * 12]),
    "integers": lambda c: c.build(BAD.astype(np.int32)),
    "ragged": lambda c: c.build([[1.0], [1.0, 2.0]]),
    "a number": lambda c: c.build(7),
    "nan": lambda c: c.build(np.where(np.arange(48).reshape(4, 12) == 30, np.nan, BAD)),
    "huge": lambda c: c.build(BAD * 1e30),
    "no batches": lambda c: c.build(iter([])),
    "unlike batches": lambda c: c.build(iter([BAD, BAD[:, :2]])),
    "batches of another dimension": lambda c: c.build(iter([BAD[:, :2]])),
    "too few ids": lambda c: c.build(BAD, [1, 2]),
    "negative ids": lambda c: c.build(BAD, [1, 2, 3, -4]),
    "ids that repeat": lambda c: c.build(BAD, [1, 2, 2, 4]),
    "ids of text": lambda c: c.build(BAD, list("abcd")),
    "ids of fractions": lambda c: c.build(BAD, [1.0, 2.0, 3.0, 4.5]),
    "memory": lambda c: c.build(BAD, memory="lots"),
    "too little memory": lambda c: c.build(BAD, memory="1MiB"),
    "code": lambda c: c.build(BAD, code="pq"),
    "copies": lambda c: c.build(BAD, copies=17),
    "copy rule": lambda c: c.build(BAD, copy_rule="all"),
    "centroids": lambda c: c.build(BAD, num_centroids=0),
    "queries": lambda c: c.build(BAD, calibration_queries=np.ones((2, 5))),
}


@pytest.mark.parametrize("what", BAD_INPUTS)
def test_bad_input_is_refused_in_the_same_words(database: Any, reference: Any, what: str) -> None:
    refusals = [
        refusal(lambda place=place: BAD_INPUTS[what](place.create_collection("docs", dim=12)))  # type: ignore[misc]
        for place in (reference, database)
    ]

    assert refusals[1] == refusals[0]
    assert database.collection("docs").info().version is None


@pytest.mark.parametrize("ids", [None, ["a", "b", "c"], ["a", "b", "c", ""], ["a", "b", "c", "a"], ["a", "b", "c", 4]])
def test_bad_texts_are_refused_in_the_same_words(database: Any, reference: Any, ids: Any) -> None:
    refusals = []
    for place in (reference, database):
        collection = place.create_collection("docs", dim=12, id_type="string")
        refusals.append(refusal(lambda collection=collection: collection.build(BAD, ids)))  # type: ignore[misc]

    assert refusals[1] == refusals[0]


def test_a_failed_build_leaves_the_version_before(database: Any, vectors: Any) -> None:
    collection = database.create_collection("docs", dim=12)
    collection.build(vectors, **BUILD).wait()

    with pytest.raises(InvalidArgument, match="row 3: expected finite float32 values"):
        collection.build(np.where(np.arange(48).reshape(4, 12) == 40, np.inf, BAD)).wait()

    assert collection.count() == 400
    assert collection.search(vectors[5], 1).ids[0, 0] == 5
