"""Snapshots pin versions: they outlive newer versions, drops and garbage collection until they are deleted."""

import contextlib
import errno
import json
import os
import random
import shutil

import pytest
from tests.store import power_loss

from outcrop.errors import AlreadyExists, InvalidArgument, NotFound, StorageFailure
from outcrop.store import Root, os_calls
from outcrop.store.format.record import unpack_record


@pytest.fixture
def commit(root, write_file):
    """Write the next version of an object, which is made if it is new, and return the object's record."""

    def commit(kind, name, payload):
        found = [record for record in root.list_objects(kind) if record.name == name]
        record = found[0] if found else root.create(kind, name, {"dim": 4})
        with root.begin_version(record.id) as writer:
            writer.commit([write_file(writer.folder / "v.blk", payload)], {"payload": payload.decode()})
        return root.get(kind, name)

    return commit


def payload_of(root, pinned):
    with root.open_pinned(pinned) as lease:
        return lease.manifest.properties["payload"]


def marker_format(root):
    return unpack_record((root.path / "OUTCROP").read_bytes(), "marker")["format"]


def test_a_snapshot_keeps_old_versions_from_garbage_collection(root, commit):
    commit("graphs", "g", b"old")
    root.create_snapshot("monday")
    commit("graphs", "g", b"new")

    assert root.gc() == []
    (pinned,) = root.get_snapshot("monday").objects
    assert (pinned.kind, pinned.name, pinned.version, payload_of(root, pinned)) == ("graphs", "g", 1, "old")


def test_a_snapshot_keeps_what_was_dropped_and_the_name_is_free_again(root, commit):
    old = commit("graphs", "g", b"old")
    root.create_snapshot("monday")
    root.drop("graphs", "g")
    new = commit("graphs", "g", b"new")

    root.gc()

    (pinned,) = root.get_snapshot("monday").objects
    assert pinned.id == old.id != new.id
    assert pinned.spec == {"dim": 4}
    assert payload_of(root, pinned) == "old"
    assert root.statistics().num_versions == 2


def test_deleting_the_last_snapshot_of_a_dropped_object_frees_its_folder(root, commit):
    record = commit("graphs", "g", b"old")
    root.create_snapshot("x")
    root.create_snapshot("y")
    root.drop("graphs", "g")

    root.delete_snapshot("x")
    assert root.gc() == []
    root.delete_snapshot("y")

    assert sorted(root.gc()) == [f"graphs/{record.id}", f"graphs/{record.id}/v000001"]
    assert root.statistics().num_versions == 0


def test_a_reader_of_a_deleted_snapshot_keeps_the_files_until_it_closes(root, commit):
    commit("graphs", "g", b"old")
    (pinned,) = root.create_snapshot("x").objects
    root.drop("graphs", "g")
    with root.open_pinned(pinned) as lease:
        root.delete_snapshot("x")
        assert root.gc() == []
        assert lease.path("v.blk").exists()
        with pytest.raises(NotFound, match="its snapshot was deleted"):
            root.open_pinned(pinned)
    assert len(root.gc()) == 2


def test_chosen_objects_only_are_pinned_in_the_order_of_kinds(root, commit):
    for kind in ("plans", "graphs", "collections"):
        commit(kind, "b", b"1")
        commit(kind, "a", b"1")

    chosen = [("plans", "a"), ("collections", "b"), ("collections", "a")]
    snapshot = root.create_snapshot("some", lambda view: chosen)

    assert [(each.kind, each.name) for each in snapshot.objects] == [
        ("collections", "a"),
        ("collections", "b"),
        ("plans", "a"),
    ]
    assert root.list_snapshots() == [snapshot]


@pytest.mark.parametrize(
    ("chosen", "error", "text"),
    [
        ([], InvalidArgument, "expected at least one object"),
        ([("graphs", "g"), ("graphs", "g")], InvalidArgument, "named twice"),
        ([("tables", "g")], InvalidArgument, "kind of an object"),
        ([("graphs", "../g")], InvalidArgument, "first a letter or digit"),
        ([("graphs", "h")], NotFound, "no graph 'h'"),
        ([("graphs", "empty")], NotFound, "graph 'empty' has no version yet"),
    ],
)
def test_a_wrong_choice_is_refused_and_pins_nothing(root, commit, chosen, error, text):
    commit("graphs", "g", b"1")
    root.create("graphs", "empty", {})
    with pytest.raises(error, match=text):
        root.create_snapshot("x", lambda view: chosen)
    assert root.list_snapshots() == []


def test_names_are_checked_and_unique(root, commit):
    commit("graphs", "g", b"1")
    root.create_snapshot("x")
    with pytest.raises(AlreadyExists, match="snapshot 'x' exists"):
        root.create_snapshot("x")
    for call in (root.create_snapshot, root.get_snapshot, root.delete_snapshot):
        with pytest.raises(InvalidArgument, match="first a letter or digit"):
            call("../x")
    for call in (root.get_snapshot, root.delete_snapshot):
        with pytest.raises(NotFound, match="no snapshot 'y'"):
            call("y")


def test_the_first_snapshot_keeps_releases_out_that_do_not_know_them(root, commit):
    commit("graphs", "g", b"1")
    assert marker_format(root) == 1
    root.create_snapshot("x")
    assert marker_format(root) == 2
    root.delete_snapshot("x")
    with Root.open(root.path, read_only=True) as reopened:
        assert reopened.list_snapshots() == []
        with pytest.raises(InvalidArgument, match="read-only"):
            reopened.create_snapshot("x")


def test_the_format_is_durable_before_the_snapshot_is(root, commit):
    commit("graphs", "g", b"1")
    formats = []

    def look(step, path, source):
        if step == "commit":
            formats.append(marker_format(root))

    with os_calls.intercepted(look):
        root.create_snapshot("x")
    assert formats == [2]


def test_a_full_disk_at_any_step_leaves_no_half_snapshot(root, commit):
    commit("graphs", "g", b"1")
    steps, cut_at = [], 0

    def full(step, path, source):
        steps.append(step)
        if len(steps) > cut_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    while not root.list_snapshots():
        steps.clear()
        with os_calls.intercepted(full), contextlib.suppress(StorageFailure):
            root.create_snapshot("x")
        cut_at += 1
    assert cut_at > 3
    assert [snapshot.name for snapshot in Root.open(root.path).list_snapshots()] == ["x"]


def test_a_snapshot_survives_its_json(root, commit):
    commit("graphs", "g", b"1")
    snapshot = root.create_snapshot("x")
    assert type(snapshot).from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


def keep_drop_and_forget(path):
    """All that can happen around a snapshot, in order."""
    with Root.open(path) as root:
        root.create_snapshot("x")
        root.drop("graphs", "g")
        root.gc()
        root.delete_snapshot("x")
        root.gc()


@pytest.mark.usefixtures("no_wait_for_device")
@pytest.mark.parametrize("loses_unsynced", [False, True], ids=["killed", "power-lost"])
def test_a_snapshot_cut_at_every_step_is_there_whole_or_not_at_all(root, commit, tmp_path, seed, loses_unsynced):
    old = commit("graphs", "g", b"old")
    cut_at, seen = 0, set()
    while True:
        path, keep = tmp_path / f"cut-{cut_at}", tmp_path / f"kept-{cut_at}"
        shutil.copytree(root.path, path)
        keep.mkdir()
        disk = power_loss.Disk(cut_at, keep)
        with os_calls.intercepted(disk), contextlib.suppress(power_loss.PowerLoss):
            keep_drop_and_forget(path)
        if loses_unsynced:
            disk.lose(random.Random(seed + cut_at))
        with Root.open(path) as found:
            names = [snapshot.name for snapshot in found.list_snapshots()]
            alive = bool(found.list_objects("graphs"))
            seen.add((tuple(names), alive))
            for name in names:
                assert marker_format(found) == 2
                found.gc()
                (pinned,) = found.get_snapshot(name).objects
                assert payload_of(found, pinned) == "old"
                found.delete_snapshot(name)
            found.gc()
            assert found.gc() == []
            assert (found.path / "graphs" / old.id).exists() == alive
        shutil.rmtree(path)
        if len(disk.steps) < cut_at:
            break
        cut_at += 1
    assert seen == {((), True), (("x",), True), (("x",), False), ((), False)}
