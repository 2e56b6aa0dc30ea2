"""Making, finding, listing and dropping collections."""

from typing import Any

import numpy as np
import pytest
from tests.conformance.refusals import refusal

from outcrop.errors import AlreadyExists, NotFound
from outcrop.types import CollectionInfo, CollectionSpec

SPEC = {"dim": 12, "metric": "cosine", "dtype": "float16", "id_type": "string"}


def test_a_collection_is_what_was_asked_for(database: Any) -> None:
    made = database.create_collection("docs", **SPEC)
    found = database.collection("docs")

    assert (made.name, found.name) == ("docs", "docs")
    assert made.spec == found.spec == CollectionSpec(**SPEC)
    assert made.id == found.id
    assert found.info() == CollectionInfo("docs", CollectionSpec(**SPEC), None, 0, 0, {}, {})
    assert found.count() == 0


def test_collections_are_listed_by_name(database: Any) -> None:
    assert database.collection_names() == []
    assert database.list_collections() == []
    for name in ("b", "a", "c.1"):
        database.create_collection(name, dim=3)

    assert database.collection_names() == ["a", "b", "c.1"]
    assert [info.name for info in database.list_collections()] == ["a", "b", "c.1"]
    assert database.list_collections()[0] == database.collection("a").info()


def test_a_name_is_taken_until_it_is_dropped(database: Any) -> None:
    first = database.create_collection("docs", dim=3)
    with pytest.raises(AlreadyExists):
        database.create_collection("docs", dim=4)

    database.drop_collection("docs")

    assert database.collection_names() == []
    with pytest.raises(NotFound):
        database.collection("docs")
    assert database.create_collection("docs", dim=4).id != first.id


def test_what_was_built_is_told(database: Any, reference: Any, vectors: Any) -> None:
    told = []
    for place in (reference, database):
        place.create_collection("docs", dim=12).build(vectors, memory="64MiB", num_centroids=8, copies=1).wait()
        told.append(place.collection("docs").info())

    info = told[1]
    assert (info.name, info.spec, info.version, info.num_rows) == ("docs", CollectionSpec(12), 1, 400)
    assert info.files == told[0].files
    assert info.disk_bytes == sum(info.files.values())
    assert info.properties.keys() == told[0].properties.keys()
    assert database.collection("docs").count() == 400


def test_statistics_have_the_same_parts(database: Any, reference: Any, vectors: Any) -> None:
    told = []
    for place in (reference, database):
        collection = place.create_collection("docs", dim=12)
        collection.build(vectors, memory="64MiB", num_centroids=8, copies=1).wait()
        for _ in range(3):
            collection.search(vectors[:20])
        told.append(collection.statistics())

    expected, found = told
    assert type(found) is type(expected)
    assert found.index.centroid_bytes == expected.index.centroid_bytes
    assert found.index.cache_hits > 0
    # Served, it is a share of the server's: what this collection can use.
    assert found.memory.reserved_bytes <= found.memory.budget_bytes <= expected.memory.budget_bytes
    assert found.reader.reads > 0
    assert sum(size for _, size in found.memory.owners) == found.memory.reserved_bytes


@pytest.mark.parametrize(
    "call",
    [
        lambda database: database.collection("none"),
        lambda database: database.drop_collection("none"),
        lambda database: database.create_collection("docs", dim=3),
        lambda database: database.create_collection("../x", dim=3),
        lambda database: database.create_collection("", dim=3),
        lambda database: database.create_collection("a" * 300, dim=3),
        lambda database: database.collection("a/b"),
        lambda database: database.create_collection("x", dim=0),
        lambda database: database.create_collection("x", dim=32_769),
        lambda database: database.create_collection("x", dim=-1),
        lambda database: database.create_collection("x", dim=2.5),
        lambda database: database.create_collection("x", dim=3, metric="l3"),
        lambda database: database.create_collection("x", dim=3, dtype="int4"),
        lambda database: database.create_collection("x", dim=3, id_type="uuid"),
        lambda database: database.create_collection("x", dim=3, metric="cosine", dtype="uint8"),
        lambda database: database.collection("docs").search(np.zeros(3)),
        lambda database: database.collection("docs").statistics(),
        lambda database: database.collection("docs").verify(),
        lambda database: database.collection("docs").scan(),
    ],
)
def test_refusals_have_the_same_words(database: Any, reference: Any, call: Any) -> None:
    for place in (database, reference):
        place.create_collection("docs", dim=3)

    assert refusal(lambda: call(database)) == refusal(lambda: call(reference))
