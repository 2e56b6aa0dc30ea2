"""Restoring: whenever it is cut, objects are old or new and whole, and the same call completes it."""

import contextlib
import errno
import os
import random
import shutil

import pytest
from tests.store import power_loss

from outcrop.errors import (
    CorruptFile,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StorageFailure,
    Unavailable,
)
from outcrop.store import BlockWriter, Root, os_calls
from outcrop.store.snapshots import ArchiveFile, Restoring, SnapshotArchive, restore_objects, write_archive
from outcrop.store.snapshots import restore as restore_module

KEYS = [("collections", "a"), ("graphs", "b")]


def commit(root, key, payload):
    with contextlib.suppress(Exception):
        root.create(*key, {"of": key[1]})
    with root.begin_version(root.get(*key).id) as writer:
        entries = []
        for name in ("x.blk", "y.blk"):
            with BlockWriter(writer.folder / name, "vectors") as file:
                file.append(payload * 2000)
                entries.append(file.finish())
        writer.commit(entries, {"payload": payload.decode()})


@pytest.fixture
def archive(tmp_path):
    """An archive of two objects that say `new`, and a root in which they say `old`."""
    with Root.open(tmp_path / "source") as source:
        for key in KEYS:
            commit(source, key, b"new")
        source.create_snapshot("s")
        with SnapshotArchive(source, "s") as stream:
            write_archive(stream, tmp_path / "s.snapshot", lambda done: None)
    return ArchiveFile(tmp_path / "s.snapshot")


@pytest.fixture
def old(tmp_path):
    with Root.open(tmp_path / "old") as root:
        for key in KEYS:
            commit(root, key, b"old")
    return tmp_path / "old"


def restore_all(root, source, names=("a", "b")):
    chosen = [Restoring(each, name) for each, name in zip(source.header.objects, names, strict=True)]
    return restore_objects(root, source, chosen, lambda each, restored: each.manifest.properties, lambda done: None)


def contents(path):
    """What the current version of each object says, after all of it was compared."""
    found = {}
    with Root.open(path) as root:
        for kind in ("collections", "graphs"):
            for record in root.list_objects(kind):
                if record.current_version is None:
                    found[record.name] = None
                    continue
                with root.open_version(record.id) as lease:
                    payload = lease.manifest.properties["payload"]
                    for entry in lease.manifest.files:
                        assert lease.path(entry.name).read_bytes()[4096:].startswith(payload.encode() * 2000)
                    found[record.name] = payload
    return found


def check_no_garbage(path):
    with Root.open(path) as root:
        assert root.list_jobs() == []
        root.gc()
        assert root.gc() == []
    assert list((path / "tmp").iterdir()) == []


def run_until_cut(disk, work):
    with os_calls.intercepted(disk), contextlib.suppress(power_loss.PowerLoss):
        work()


@pytest.mark.usefixtures("no_wait_for_device")
@pytest.mark.parametrize("exists", [False, True], ids=["made", "replaced"])
@pytest.mark.parametrize("loses_unsynced", [False, True], ids=["killed", "power-lost"])
def test_a_restore_cut_at_every_step_is_completed_by_the_same_call(
    tmp_path, archive, old, seed, exists, loses_unsynced, monkeypatch
):
    monkeypatch.setattr(restore_module, "_CHECKPOINT_BYTES", 4096)
    if not exists:
        with Root.open(tmp_path / "empty"):
            pass
    begin = old if exists else tmp_path / "empty"
    before = {"a": "old", "b": "old"} if exists else {"a": None, "b": None}
    cut_at, seen = 0, set()
    while True:
        path, keep = tmp_path / f"cut-{cut_at}", tmp_path / f"kept-{cut_at}"
        shutil.copytree(begin, path)
        keep.mkdir()
        disk = power_loss.Disk(cut_at, keep)
        run_until_cut(disk, lambda path=path: restore_all(Root.open(path), archive))
        if loses_unsynced:
            disk.lose(random.Random(seed + cut_at))
        found = before | contents(path)
        assert all(found[name] in (before[name], "new") for name in found), cut_at
        seen.add(tuple(found.values()))
        with Root.open(path) as root:
            root.gc()
            restored = restore_all(root, archive)
            assert [each.version for each in restored] == [each.version for each in restore_all(root, archive)]
        assert contents(path) == {"a": "new", "b": "new"}
        check_no_garbage(path)
        shutil.rmtree(path)
        if len(disk.steps) < cut_at:
            break
        cut_at += 1
    assert seen == {tuple(before.values()), ("new", before["b"]), ("new", "new")}


@pytest.mark.usefixtures("no_wait_for_device")
def test_a_full_disk_at_any_step_loses_nothing_and_the_same_call_goes_on(tmp_path, archive, old):
    cut_at, finished = 0, False
    while not finished:
        path, steps = tmp_path / f"full-{cut_at}", []
        shutil.copytree(old, path)

        def full(step, where, source, steps=steps, cut_at=cut_at):
            steps.append(step)
            if len(steps) > cut_at and step in ("write", "create", "mkdir", "fsync"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with os_calls.intercepted(full):
            try:
                restore_all(Root.open(path), archive)
                finished = len(steps) <= cut_at
            except StorageFailure:
                assert set(contents(path).values()) <= {"old", "new"}
        with Root.open(path) as root:
            restore_all(root, archive)
        assert contents(path) == {"a": "new", "b": "new"}
        check_no_garbage(path)
        shutil.rmtree(path)
        cut_at += 3
    assert cut_at > 60


def test_a_damaged_archive_changes_nothing(archive, old, tmp_path):
    data = bytearray(archive.path.read_bytes())
    data[-4096 - 1] ^= 1  # in the last file of the second object
    archive.path.write_bytes(data)
    with Root.open(old) as root:
        for names in (("a", "b"), ("new-a", "new-b")):
            with pytest.raises(CorruptFile, match=r"graphs/b/y\.blk: block 2"):
                restore_all(root, archive, names)
    assert contents(old) == {"a": "old", "b": "old"}
    check_no_garbage(old)


def test_what_is_already_there_is_left_alone_and_what_is_damaged_there_is_replaced(archive, old):
    with Root.open(old) as root:
        first = restore_all(root, archive)
        assert restore_all(root, archive) == first
        with root.open_version(first[1].id) as lease:
            path = lease.path("x.blk")
        data = bytearray(path.read_bytes())
        data[5000] ^= 1
        path.write_bytes(data)
        again = restore_all(root, archive)
    assert (again[0], again[1].version) == (first[0], first[1].version + 1)
    assert contents(old) == {"a": "new", "b": "new"}


def test_objects_of_another_nature_and_names_that_meet_are_refused_before_any_work(archive, old, tmp_path):
    with Root.open(old) as root:
        root.create("graphs", "other", {"of": "something else"})
        with pytest.raises(InvalidArgument, match=r"graph 'other' is .* that of the snapshot .* under another name"):
            restore_all(root, archive, ("new", "other"))
        with pytest.raises(NotFound):
            root.get("collections", "new")
        with pytest.raises(InvalidArgument, match="first a letter or digit"):
            restore_all(root, archive, ("a", "../b"))
        twice = [Restoring(archive.header.objects[0], "a")] * 2
        with pytest.raises(InvalidArgument, match="more than one object would become collection 'a'"):
            restore_objects(root, archive, twice, lambda archived, restored: {}, lambda done: None)
    assert contents(old) == {"a": "old", "b": "old", "other": None}


def test_an_object_that_somebody_writes_stops_all_and_leaves_nothing_behind(archive, old):
    with Root.open(old) as root:
        with root.begin_version(root.get("graphs", "b").id), pytest.raises(Unavailable, match="being written"):
            restore_all(root, archive, ("new", "b"))
        assert [record.name for record in root.list_objects("collections")] == ["a"]
    check_no_garbage(old)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_copied(archive, old, monkeypatch):
    real = os.statvfs

    def small(path):
        fields = list(real(path))
        fields[4] = 3  # f_bavail
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", small)
    with Root.open(old) as root, pytest.raises(ResourceExhausted, match=r"needs .* of disk, .* are free"):
        restore_all(root, archive)
    assert contents(old) == {"a": "old", "b": "old"}
    check_no_garbage(old)
