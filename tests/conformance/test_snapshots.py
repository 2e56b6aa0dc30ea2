"""Keeping versions of one instant, taking them elsewhere, bringing them back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.refusals import refusal

import outcrop
from outcrop.types import RestoredObject, SnapshotObject

NODES = 300
EDGES = np.random.default_rng(3).integers(0, NODES, (2, 3000))
ROWS = np.random.default_rng(4).standard_normal((NODES, 12)).astype(np.float32)
PLAN: dict[str, Any] = {"graph": "web", "features": "web", "seeds": np.arange(60), "fanouts": [3, 2], "batch_size": 16}


def fill(database: Any, vectors: Any, sign: int = 1) -> None:
    """A version of everything; the sign tells one from another."""
    known = "docs" in database.collection_names()
    collection = database.collection("docs") if known else database.create_collection("docs", dim=12)
    collection.build(sign * vectors, memory="64MiB").wait()
    database.import_graph("web", EDGES[::sign], num_nodes=NODES).wait()
    database.import_features("web", sign * ROWS).wait()
    database.create_plan("train", cache_memory="4KiB", **PLAN).wait()


def everything(database: Any, vectors: Any, suffix: str = "") -> list[Any]:
    """What users see of all four."""
    found = database.collection(f"docs{suffix}").search(vectors[:20], k=5)
    with database.graph(f"web{suffix}") as graph:
        drawn = graph.sample(np.arange(30), [4])
    with database.features(f"web{suffix}") as table:
        rows = table.fetch(np.arange(NODES)).tobytes()
    with database.plan(f"train{suffix}") as plan, plan.loader() as loader:
        batches = [(batch.nodes["node"].tobytes(), *(x.tobytes() for x in batch.features.values())) for batch in loader]
    return [found.ids.tobytes(), found.distances.tobytes(), drawn.nodes["node"].tobytes(), rows, batches]


def test_a_snapshot_keeps_what_is_there_and_brings_it_back(database: Any, vectors: Any) -> None:
    fill(database, vectors)
    before = everything(database, vectors)
    made = database.create_snapshot("monday")
    assert [(each.kind, each.name, each.version) for each in made.objects] == [
        ("collections", "docs", 1),
        ("graphs", "web", 1),
        ("features", "web", 1),
        ("plans", "train", 1),
    ]
    fill(database, vectors, sign=-1)
    assert everything(database, vectors) != before

    report = database.restore_snapshot("monday").wait()

    assert report.objects == tuple(RestoredObject(each.kind, each.name, 3) for each in made.objects)
    assert everything(database, vectors) == before
    assert database.snapshot("monday") == made
    assert database.verify_snapshot("monday").wait().problems == ()


def test_an_archive_goes_elsewhere_and_comes_back(database: Any, reference: Any, vectors: Any, tmp_path: Path) -> None:
    fill(database, vectors)
    before = everything(database, vectors)
    made = database.create_snapshot("monday")
    told: list[Any] = []
    written = database.export_snapshot("monday", tmp_path / "archive").wait(progress=told.append)
    assert (tmp_path / "archive").stat().st_size == written.size_bytes
    with database.snapshot_archive("monday") as archive:
        assert (archive.size_bytes, archive.etag) == (written.size_bytes, written.etag)
        assert archive.read(4000, 3 << 20) == (tmp_path / "archive").read_bytes()[4000 : 4000 + (3 << 20)]

    reference.restore_snapshot(tmp_path / "archive").wait()
    assert everything(reference, vectors) == before
    renamed = {"docs": "docs-2", "graphs/web": "web-2", "features/web": "web-2", "train": "train-2"}
    report = database.restore_snapshot(tmp_path / "archive", rename=renamed).wait()
    assert [(each.kind, each.name) for each in report.objects] == [
        (each.kind, f"{each.name}-2") for each in made.objects
    ]
    assert everything(database, vectors, "-2") == before


def test_some_objects_are_kept_listed_and_forgotten(database: Any) -> None:
    database.import_features("x", ROWS).wait()
    database.import_features("y", ROWS).wait()
    first = database.create_snapshot("b", objects=[("features", "y")])
    size_bytes = first.objects[0].size_bytes
    assert first.objects == (SnapshotObject("features", "y", 1, size_bytes),)
    assert size_bytes == first.size_bytes > ROWS.nbytes
    second = database.create_snapshot("a")
    assert database.list_snapshots() == [second, first]
    database.drop_features("y")
    assert database.restore_snapshot("a", objects=[("features", "y")]).wait().objects[0].version == 1
    for name in "ab":
        database.delete_snapshot(name)
    assert database.list_snapshots() == []
    assert database.feature_names() == ["x", "y"]


REFUSED: dict[str, Callable[[Any, Path], Any]] = {
    "a name that is taken": lambda database, _: database.create_snapshot("kept"),
    "no name": lambda database, _: database.create_snapshot("../x"),
    "no objects": lambda database, _: database.create_snapshot("new", objects=[]),
    "an object twice": lambda database, _: database.create_snapshot("new", objects=[("features", "x")] * 2),
    "an unknown object": lambda database, _: database.create_snapshot("new", objects=[("graphs", "x")]),
    "an unknown kind": lambda database, _: database.create_snapshot("new", objects=[("tables", "x")]),
    "an unknown snapshot": lambda database, _: database.snapshot("new"),
    "an unknown one deleted": lambda database, _: database.delete_snapshot("new"),
    "an unknown one verified": lambda database, _: database.verify_snapshot("new"),
    "an unknown one opened": lambda database, _: database.snapshot_archive("new"),
    "an unknown one restored": lambda database, _: database.restore_snapshot("new"),
    "an unknown one exported": lambda database, folder: database.export_snapshot("new", folder / "new"),
    "a folder that is missing": lambda database, folder: database.export_snapshot("kept", folder / "no" / "file"),
    "an archive that is there": lambda database, folder: database.export_snapshot("kept", folder / "taken"),
    "nothing restored": lambda database, _: database.restore_snapshot("kept", objects=[]),
    "what it lacks": lambda database, _: database.restore_snapshot("kept", objects=[("graphs", "x")]),
    "a new name for nothing": lambda database, _: database.restore_snapshot("kept", rename={"y": "z"}),
    "a new name that is none": lambda database, _: database.restore_snapshot("kept", rename={"x": "/z"}),
    "a file that is missing": lambda database, folder: database.restore_snapshot(folder / "missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_told_in_the_same_words(database: Any, reference: Any, tmp_path: Path, case: str) -> None:
    (tmp_path / "taken").touch()
    for place in (reference, database):
        place.import_features("x", ROWS[:10]).wait()
        place.create_snapshot("kept")
    assert refusal(lambda: REFUSED[case](database, tmp_path)) == refusal(lambda: REFUSED[case](reference, tmp_path))


def test_a_damaged_archive_changes_nothing(database: Any, tmp_path: Path) -> None:
    database.import_features("x", ROWS).wait()
    database.create_snapshot("monday")
    database.export_snapshot("monday", tmp_path / "archive").wait()
    data = bytearray((tmp_path / "archive").read_bytes())
    data[-8192 - 100] ^= 1
    (tmp_path / "archive").write_bytes(data)
    code, text = refusal(lambda: database.restore_snapshot(tmp_path / "archive", rename={"x": "y"}))
    assert code == outcrop.errors.CorruptFile.code
    assert "features/x/" in text
    assert "block" in text
    assert database.feature_names() == ["x"]
