"""Snapshots of a database: what is restored, here or elsewhere, is what was there, to the bit."""

import threading

import numpy as np
import pytest

import outcrop
from outcrop.errors import AlreadyExists, Cancelled, CorruptFile, InvalidArgument, NotFound
from outcrop.store import os_calls
from outcrop.types import RestoredObject

NODES, DIM = 400, 12


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def rows(rng):
    return rng.standard_normal((NODES, DIM), dtype=np.float32)


@pytest.fixture
def edges(rng):
    return rng.integers(0, NODES, (2, 3000))


@pytest.fixture
def database(tmp_path, rows, edges):
    """A collection, a graph, its features, and a plan over both."""
    with outcrop.connect(tmp_path / "root", memory="64MiB") as database:
        build(database, rows)
        database.import_graph("papers", edges, num_nodes=NODES).wait()
        database.import_features("papers", rows).wait()
        make_plan(database)
        yield database


def build(database, rows):
    names = database.collection_names()
    collection = database.collection("docs") if names else database.create_collection("docs", dim=DIM)
    collection.build(rows, memory="32MiB").wait()
    return collection


def make_plan(database, graph="papers", features="papers"):
    database.create_plan(
        "train",
        graph=graph,
        features=features,
        seeds=np.arange(100),
        fanouts=[3, 3],
        batch_size=20,
        cache_memory="4KiB",
    ).wait()


def minibatches(database, plan="train"):
    """The nodes and features of every minibatch."""
    with database.plan(plan) as opened, opened.loader() as loader:
        return [(batch.nodes["node"].tolist(), next(iter(batch.features.values())).tolist()) for batch in loader]


def everything(database, rows, names=("docs", "papers", "papers", "train")):
    """What a user can see of the four objects."""
    docs, graph, features, plan = names
    found = database.collection(docs).search(rows[:20], k=5)
    with database.graph(graph) as opened:
        csc = opened.csc(next(iter(opened.edge_types)))
        edges = (csc.indptr.tolist(), csc.indices.tolist())
    with database.features(features) as opened:
        fetched = opened.fetch(np.arange(NODES)).tobytes()
    return found.ids.tolist(), found.distances.tobytes(), edges, fetched, minibatches(database, plan)


def change_everything(database, rng):
    other = rng.standard_normal((NODES, DIM), dtype=np.float32)
    build(database, other)
    database.import_graph("papers", rng.integers(0, NODES, (2, 100)), num_nodes=NODES).wait()
    database.import_features("papers", other).wait()
    make_plan(database)


def test_what_was_changed_comes_back_as_new_versions(database, rows, rng):
    before = everything(database, rows)
    database.create_snapshot("monday")
    change_everything(database, rng)
    assert everything(database, rows) != before

    report = database.restore_snapshot("monday").wait()

    assert report.objects == (
        RestoredObject("collections", "docs", 3),
        RestoredObject("graphs", "papers", 3),
        RestoredObject("features", "papers", 3),
        RestoredObject("plans", "train", 3),
    )
    assert everything(database, rows) == before


def test_an_archive_restores_elsewhere_under_other_names(database, rows, tmp_path):
    before = everything(database, rows)
    database.create_snapshot("monday")
    written = database.export_snapshot("monday", tmp_path / "monday.snapshot").wait()
    assert written.size_bytes == (tmp_path / "monday.snapshot").stat().st_size

    with outcrop.connect(tmp_path / "elsewhere") as other:
        rename = {"docs": "pages", "graphs/papers": "cites", "features/papers": "words", "train": "epochs"}
        other.restore_snapshot(tmp_path / "monday.snapshot", rename=rename).wait()
        assert everything(other, rows, ("pages", "cites", "words", "epochs")) == before
        assert other.verify("plans", "epochs").problems == ()


def versions(database):
    root = database.connection.root
    kinds = ("collections", "graphs", "features", "plans")
    return {(kind, record.name): record.current_version for kind in kinds for record in root.list_objects(kind)}


def test_what_is_unchanged_keeps_its_version(database):
    database.create_snapshot("monday")
    before = versions(database)
    report = database.restore_snapshot("monday").wait()
    assert {(each.kind, each.name): each.version for each in report.objects} == before == versions(database)


def test_what_was_dropped_comes_back_with_its_plan(database, rows):
    before = everything(database, rows)
    database.create_snapshot("monday")
    database.drop_collection("docs")
    database.drop_graph("papers")
    database.drop_features("papers")
    database.drop_plan("train")

    database.restore_snapshot("monday").wait()

    assert everything(database, rows) == before
    database.delete_snapshot("monday")
    assert database.gc() == []
    assert everything(database, rows) == before


def test_an_open_collection_finds_what_was_restored(database, rows, rng):
    collection = database.collection("docs")
    before = collection.search(rows[:5], k=3).distances.tobytes()
    database.create_snapshot("monday", objects=[("collections", "docs")])
    build(database, rng.standard_normal((NODES, DIM), dtype=np.float32))
    assert collection.search(rows[:5], k=3).distances.tobytes() != before
    database.restore_snapshot("monday").wait()
    assert collection.search(rows[:5], k=3).distances.tobytes() == before


def test_a_snapshot_says_what_it_keeps(database):
    made = database.create_snapshot("monday")
    assert [(each.kind, each.name, each.version) for each in made.objects] == [
        ("collections", "docs", 1),
        ("graphs", "papers", 1),
        ("features", "papers", 1),
        ("plans", "train", 1),
    ]
    assert made.size_bytes == database.connection.root.statistics().size_bytes > 0
    assert database.snapshot("monday") == made
    assert database.list_snapshots() == [made]
    database.delete_snapshot("monday")
    assert database.list_snapshots() == []


def test_a_stale_plan_is_left_out_and_refused_where_it_is_named(database, rng):
    database.import_features("papers", rng.standard_normal((NODES, DIM), dtype=np.float32)).wait()
    made = database.create_snapshot("monday")
    assert [each.kind for each in made.objects] == ["collections", "graphs", "features"]
    with pytest.raises(InvalidArgument, match="plan 'train' is stale: features/papers is not at version 1"):
        database.create_snapshot("tuesday", objects=[("plans", "train")])


def test_a_plan_alone_is_restored_where_its_graph_and_table_are_current_and_nowhere_else(database, tmp_path):
    before = minibatches(database)
    database.create_snapshot("monday", objects=[("plans", "train")])
    database.export_snapshot("monday", tmp_path / "monday").wait()
    database.drop_plan("train")
    database.restore_snapshot("monday").wait()
    assert minibatches(database) == before
    with outcrop.connect(tmp_path / "elsewhere") as other:
        with pytest.raises(InvalidArgument, match="plans/train was made from version 1 of graphs/papers"):
            other.restore_snapshot(tmp_path / "monday")
        assert other.plan_names() == []


def test_a_plan_follows_a_graph_that_was_restored_as_another_version(database, rng):
    before = minibatches(database)
    database.create_snapshot("monday")
    database.import_graph("papers", rng.integers(0, NODES, (2, 100)), num_nodes=NODES).wait()
    with pytest.raises(InvalidArgument, match="stale"):
        database.plan("train")

    database.restore_snapshot("monday").wait()

    assert minibatches(database) == before
    assert versions(database)["features", "papers"] == 1, "the table had not changed"


def test_some_objects_are_restored_under_a_name_beside_the_present_one(database, rows, rng):
    database.create_snapshot("monday")
    other = rng.standard_normal((NODES, DIM), dtype=np.float32)
    build(database, other)
    database.restore_snapshot("monday", objects=[("collections", "docs")], rename={"docs": "docs-monday"}).wait()
    assert (database.collection("docs-monday").search(rows[:9], k=1).ids[:, 0] == np.arange(9)).all()
    assert (database.collection("docs").search(other[:9], k=1).ids[:, 0] == np.arange(9)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"objects": [("graphs", "docs")]}, NotFound, "has no graphs/docs"),
        ({"objects": [("tables", "docs")]}, InvalidArgument, "kind of an object"),
        ({"objects": []}, InvalidArgument, "at least one object"),
        ({"rename": {"doks": "x"}}, InvalidArgument, "'doks' is not among what is restored"),
        ({"rename": {"plans/docs": "x"}}, InvalidArgument, "'plans/docs' is not among"),
        ({"rename": {"docs": "../x"}}, InvalidArgument, "first a letter or digit"),
        ({"objects": [("plans", "train")], "rename": {"docs": "x"}}, InvalidArgument, "'docs' is not among"),
    ],
)
def test_wrong_arguments_of_a_restore_are_refused_before_any_work(database, arguments, error, text):
    database.create_snapshot("monday")
    with pytest.raises(error, match=text):
        database.restore_snapshot("monday", **arguments)


def test_a_name_is_a_snapshot_and_text_with_a_slash_is_a_path(database, tmp_path):
    with pytest.raises(NotFound, match="no snapshot 'monday'"):
        database.restore_snapshot("monday")
    with pytest.raises(NotFound, match="monday: no such file"):
        database.restore_snapshot(f"{tmp_path}/monday")
    with pytest.raises(NotFound, match="monday: no such file"):
        database.verify_snapshot(tmp_path / "monday")


def test_verifying_finds_a_damaged_block_in_the_snapshot_and_in_the_archive(database, tmp_path):
    made = database.create_snapshot("monday")
    database.export_snapshot("monday", tmp_path / "archive").wait()
    for source in ("monday", tmp_path / "archive"):
        report = database.verify_snapshot(source).wait()
        assert (report.num_objects, report.size_bytes, report.problems) == (4, made.size_bytes, ())
    with database.features("papers") as table:
        path = next((tmp_path / "root" / "features" / table.manifest.object_id / "v000001").glob("*.blk"))
    damage(path, 5000)
    damage(tmp_path / "archive", (tmp_path / "archive").stat().st_size - 5000)

    (found,) = database.verify_snapshot("monday").wait().problems
    assert (found.file, found.block) == (f"features/papers/{path.name}", 1)
    (found,) = database.verify_snapshot(tmp_path / "archive").wait().problems
    assert found.file.startswith("plans/train/")
    path.unlink()
    (found,) = database.verify_snapshot("monday").wait().problems
    assert "is missing" in found.text


def damage(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_cancelled_export_and_a_cancelled_restore_go_on(database, tmp_path, rows):
    before = everything(database, rows)
    database.create_snapshot("monday")
    cancelled(lambda: database.export_snapshot("monday", tmp_path / "archive"))
    assert not (tmp_path / "archive").exists()
    database.export_snapshot("monday", tmp_path / "archive").wait()
    with outcrop.connect(tmp_path / "elsewhere") as other:
        cancelled(lambda: other.restore_snapshot(tmp_path / "archive"))
        other.restore_snapshot(tmp_path / "archive").wait()
        assert everything(other, rows) == before
        assert other.gc() == []


def cancelled(start):
    """Cancel a job before it has written its first byte."""
    asked = threading.Event()
    with os_calls.intercepted(lambda step, path, source: step != "write" or asked.wait(60)):
        job = start()
        job.cancel()
        asked.set()
        with pytest.raises(Cancelled):
            job.wait()


def test_string_ids_and_cosine_survive(tmp_path, rows):
    with outcrop.connect(tmp_path / "root", memory="64MiB") as database:
        docs = database.create_collection("docs", dim=DIM, metric="cosine", id_type="string")
        docs.build(rows, [f"doc {n}" for n in range(NODES)], memory="32MiB").wait()
        before = docs.search(rows[:10], k=4)
        database.create_snapshot("monday")
        database.restore_snapshot("monday", rename={"docs": "again"}).wait()
        after = database.collection("again").search(rows[:10], k=4)
    assert after.ids.tolist() == before.ids.tolist()
    assert after.distances.tobytes() == before.distances.tobytes()


def test_a_read_only_database_exports_and_verifies(database, tmp_path):
    database.create_snapshot("monday")
    with outcrop.connect(tmp_path / "root", read_only=True) as reader:
        assert reader.verify_snapshot("monday").wait().problems == ()
        written = reader.export_snapshot("monday", tmp_path / "archive").wait()
        with reader.snapshot_archive("monday") as archive:
            assert (archive.size_bytes, archive.etag) == (written.size_bytes, written.etag)
        with pytest.raises(InvalidArgument, match="read-only"):
            reader.create_snapshot("tuesday")
        with pytest.raises(AlreadyExists):
            reader.export_snapshot("monday", tmp_path / "archive")


def test_the_plans_of_a_fresh_loader_are_left_out(database):
    loader = database.fresh_loader(
        "fresh",
        graph="papers",
        features="papers",
        seeds=np.arange(100),
        fanouts=[2],
        batch_size=20,
        epochs=3,
        cache_memory="4KiB",
    )
    with loader:
        for _ in loader:  # the first epoch begins with nothing, the second with what the first has left
            pass
        next(iter(loader))
        made = database.create_snapshot("monday", objects=None)
        with pytest.raises(InvalidArgument, match="plan 'fresh' goes on from the caches of another plan"):
            database.create_snapshot("tuesday", objects=[("plans", "fresh")])
    assert ("plans", "fresh") not in {(each.kind, each.name) for each in made.objects}


def test_a_plan_of_an_archive_that_does_not_say_what_it_was_made_from_is_refused(database, tmp_path):
    root = database.connection.root
    record = root.create("plans", "strange", {})
    with root.begin_version(record.id) as writer:
        writer.commit([], {"fingerprint": []})
    root.create_snapshot("odd", lambda view: [("plans", "strange")])
    with pytest.raises(CorruptFile, match="plans/strange: its properties do not say"):
        database.restore_snapshot("odd")
