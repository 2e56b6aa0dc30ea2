import contextlib
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from outcrop.errors import (
    AlreadyExists,
    CorruptFile,
    InvalidArgument,
    NotFound,
    StorageFailure,
    Unavailable,
    UnsupportedFormat,
)
from outcrop.store import Root, os_calls
from outcrop.store.format.record import pack_record
from outcrop.types import KINDS


@pytest.fixture
def photos(root):
    return root.create("collections", "photos", {"dim": 4})


@pytest.fixture
def commit(write_file):
    def commit(root, collection_id, payload: bytes, job_id=None, **properties):
        with root.begin_version(collection_id, job_id) as writer:
            return writer.commit([write_file(writer.folder / "v.blk", payload)], properties)

    return commit


def tree(root: Root) -> set[str]:
    return {str(path.relative_to(root.path)) for path in root.path.rglob("*")}


# Roots


def test_a_root_is_made_once_and_opened_again(tmp_path):
    with Root.open(tmp_path / "deep" / "r") as root:
        root.create("collections", "a", {})
    with Root.open(tmp_path / "deep" / "r", create=False) as root:
        assert [record.name for record in root.list_objects("collections")] == ["a"]


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_opening_what_is_not_a_root_says_so_and_makes_nothing(tmp_path, options):
    with pytest.raises(NotFound, match="not an outcrop root"):
        Root.open(tmp_path / "r", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(InvalidArgument, match=r"thesis\.tex"):
        Root.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_root_of_another_release_is_refused(root):
    (root.path / "OUTCROP").write_bytes(pack_record({"format": 3}))
    with pytest.raises(UnsupportedFormat, match="root format 3, this release reads formats 1 and 2"):
        Root.open(root.path)


def test_a_damaged_or_missing_marker_is_corruption_when_there_are_collections(root, photos, commit):
    commit(root, photos.id, b"x")
    marker = root.path / "OUTCROP"
    marker.write_bytes(marker.read_bytes().replace(b"1", b"3"))
    with pytest.raises(CorruptFile, match="OUTCROP"):
        Root.open(root.path)
    marker.unlink()
    with pytest.raises(CorruptFile, match="OUTCROP"):
        Root.open(root.path)


# Collections


def test_collections_are_made_listed_and_dropped(root):
    made = root.create("collections", "b", {"metric": "l2"})
    root.create("collections", "a", {})
    assert root.get("collections", "b") == made
    assert [record.name for record in root.list_objects("collections")] == ["a", "b"]
    root.drop("collections", "b")
    with pytest.raises(NotFound, match="'b'"):
        root.get("collections", "b")


def test_a_taken_name_is_refused(root, photos):
    with pytest.raises(AlreadyExists, match="'photos'"):
        root.create("collections", "photos", {})


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", "a b", "é", "a\n", "x" * 256, "a\0"])
def test_names_that_could_leave_their_folder_are_refused(root, name):
    with pytest.raises(InvalidArgument, match="collection"):
        root.create("collections", name, {})
    with pytest.raises(InvalidArgument, match="collection"):
        root.get("collections", name)


def test_the_longest_name_works(root):
    name = "x" * 255
    assert root.create("collections", name, {}) == root.get("collections", name)


# Versions


def test_a_version_is_read_as_it_was_committed(root, photos, commit):
    manifest = commit(root, photos.id, b"payload", rows=1)
    with root.open_version(photos.id) as version:
        assert version.manifest == manifest
        assert version.manifest.properties == {"rows": 1}
        assert version.path("v.blk").stat().st_size == manifest.file("v.blk").size_bytes == manifest.size_bytes
        with pytest.raises(NotFound, match=r"w\.blk"):
            version.path("w.blk")
    assert root.get("collections", "photos").current_version == manifest.version == 1


def test_a_collection_without_version_says_so(root, photos):
    with pytest.raises(NotFound, match="no version yet"):
        root.open_version(photos.id)


def test_a_reader_keeps_the_version_it_opened(root, photos, commit):
    commit(root, photos.id, b"old")
    with root.open_version(photos.id) as old:
        commit(root, photos.id, b"new")
        assert root.gc() == []
        assert old.path("v.blk").read_bytes()[4096:4099] == b"old"
        with root.open_version(photos.id) as new:
            assert (old.manifest.version, new.manifest.version) == (1, 2)
    assert root.gc() == [f"collections/{photos.id}/v000001"]
    with pytest.raises(NotFound, match="no version 1; the current one is 2"):
        root.open_version(photos.id, 1)


def test_a_version_may_be_opened_by_its_number(root, photos, commit):
    commit(root, photos.id, b"old")
    commit(root, photos.id, b"new")
    with root.open_version(photos.id, 1) as version:
        assert version.path("v.blk").read_bytes()[4096:4099] == b"old"


def test_a_missing_or_resized_file_is_reported_when_the_version_is_opened(root, photos, commit):
    commit(root, photos.id, b"x")
    path = root.open_version(photos.id).path("v.blk")
    os.truncate(path, 4096)
    with pytest.raises(CorruptFile, match=r"v\.blk: size 4096 bytes, the manifest says 12288"):
        root.open_version(photos.id)
    path.unlink()
    with pytest.raises(CorruptFile, match=r"v\.blk: .* missing"):
        root.open_version(photos.id)
    shutil.rmtree(path.parent)
    with pytest.raises(CorruptFile, match="lease"):
        root.open_version(photos.id)


def test_scratch_and_strays_do_not_become_part_of_a_version(root, photos, write_file):
    with root.begin_version(photos.id) as writer:
        entry = write_file(writer.folder / "v.blk", b"x")
        (writer.folder / "spill-0001").write_bytes(b"spill")
        (writer.folder / "deep").mkdir()
        (writer.scratch / "runs").write_bytes(b"runs")
        writer.commit([entry], {})
    with root.open_version(photos.id) as version:
        assert {path.name for path in version.folder.iterdir()} == {"v.blk", "lease"}
    assert list((root.path / "tmp").iterdir()) == []


def test_a_file_that_is_not_what_its_entry_says_is_not_committed(root, photos, write_file):
    with root.begin_version(photos.id) as writer:
        entry = write_file(writer.folder / "v.blk", b"x")
        write_file(writer.folder / "v.blk", b"x")  # the same bytes and another file id
        with pytest.raises(CorruptFile, match="file_id"):
            writer.commit([entry], {})
        (writer.folder / "v.blk").unlink()
        with pytest.raises(NotFound, match=r"v\.blk"):
            writer.commit([entry], {})
    with pytest.raises(NotFound):
        root.open_version(photos.id)


def test_two_entries_of_one_name_are_refused(root, photos, write_file):
    with root.begin_version(photos.id) as writer:
        entry = write_file(writer.folder / "v.blk", b"x")
        with pytest.raises(InvalidArgument, match="twice"):
            writer.commit([entry, entry], {})


def test_a_version_without_files_is_a_version(root, photos):
    with root.begin_version(photos.id) as writer:
        writer.commit([], {"rows": 0})
    with root.open_version(photos.id) as version:
        assert version.manifest.files == ()


# Writers and jobs


def test_there_is_one_writer_for_each_collection(root, photos, commit):
    other = root.create("collections", "other", {})
    with root.begin_version(photos.id):
        with pytest.raises(Unavailable, match=f"'photos' is being written by process {os.getpid()}"):
            root.begin_version(photos.id)
        with pytest.raises(Unavailable):
            root.drop("collections", "photos")
        commit(root, other.id, b"x")
    commit(root, photos.id, b"x")


def test_leaving_a_writer_removes_its_work(root, photos, write_file):
    before = tree(root)
    with root.begin_version(photos.id) as writer:
        write_file(writer.folder / "v.blk", b"x")
    assert tree(root) - before <= {f"collections/{photos.id}", f"collections/{photos.id}/writer"}


def test_a_job_finds_its_work_and_its_state_again(root, photos, write_file):
    with root.begin_version(photos.id, "build-1") as writer:
        assert writer.load_state() == {}
        entry = write_file(writer.folder / "v.blk", b"x")
        (writer.scratch / "runs").write_bytes(b"runs")
        writer.save_state({"phase": "pack", "entry": entry.to_json()})
    assert root.gc() == []
    assert [job.id for job in root.list_jobs()] == ["build-1"]
    with root.begin_version(photos.id, "build-1") as writer:
        assert writer.load_state()["phase"] == "pack"
        assert (writer.scratch / "runs").read_bytes() == b"runs"
        writer.commit([entry], {})
    assert root.get_job("build-1") is None
    assert root.gc() == []


def test_an_aborted_or_forgotten_job_leaves_nothing(root, photos):
    root.begin_version(photos.id, "aborted").abort()
    root.begin_version(photos.id, "forgotten").close()
    root.forget_job("forgotten")
    assert root.gc() == [f"tmp/{photos.id}.forgotten"]
    assert list((root.path / "tmp").iterdir()) == []
    assert root.list_jobs() == []


def test_a_job_belongs_to_one_collection(root, photos):
    other = root.create("collections", "other", {})
    root.begin_version(photos.id, "build-1").close()
    with pytest.raises(InvalidArgument, match="build-1"):
        root.begin_version(other.id, "build-1")
    root.begin_version(other.id).close()


def test_a_dropped_collection_is_collected_after_its_last_reader(root, photos, commit):
    commit(root, photos.id, b"x")
    root.begin_version(photos.id, "build-1").close()
    with root.open_version(photos.id) as version:
        root.drop("collections", "photos")
        root.gc()
        assert version.path("v.blk").exists()
    assert f"collections/{photos.id}" in root.gc()
    assert list((root.path / "collections").iterdir()) == []
    assert list((root.path / "tmp").iterdir()) == []
    assert root.statistics().num_jobs == 0


def test_gc_leaves_the_work_of_a_living_writer_alone(root, photos, write_file):
    with root.begin_version(photos.id) as writer:
        entry = write_file(writer.folder / "v.blk", b"x")
        assert root.gc() == []
        writer.commit([entry], {})
    root.open_version(photos.id).close()


def test_gc_removes_unknown_things_in_tmp(root):
    (root.path / "tmp" / "trash.1" / "deep").mkdir(parents=True)
    (root.path / "tmp" / "what").mkdir()
    (root.path / "tmp" / "file").write_bytes(b"")
    assert root.gc() == ["tmp/file", "tmp/what"]
    assert list((root.path / "tmp").iterdir()) == []


# Read-only roots


def test_a_read_only_root_reads_and_refuses_to_write(root, photos, commit):
    commit(root, photos.id, b"x")
    before = {path: path.stat().st_mtime_ns for path in root.path.rglob("*")}
    with Root.open(root.path, read_only=True) as reader:
        reader.open_version(photos.id).close()
        for write in (
            lambda: reader.create("collections", "x", {}),
            lambda: reader.drop("collections", "photos"),
            lambda: reader.begin_version(photos.id),
            lambda: reader.forget_job("x"),
            reader.gc,
        ):
            with pytest.raises(InvalidArgument, match="read-only"):
                write()
    assert {path: path.stat().st_mtime_ns for path in root.path.rglob("*")} == before


def test_a_root_without_write_permission_is_read_and_refuses_to_write(root, photos, commit):
    commit(root, photos.id, b"x")
    paths = [root.path, *root.path.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) | stat.S_IROTH)
        if path.is_dir():
            path.chmod(path.stat().st_mode | stat.S_IXOTH)
    script = f"""
        import os
        if os.getuid() == 0:  # whom permissions do not stop
            from outcrop.store import Root
            for folder in {[str(p) for p in root.path.parents if p != p.parent]!r}:
                os.chmod(folder, 0o755)
            os.setgid(65534); os.setuid(65534)
        from outcrop.errors import StorageFailure
        from outcrop.store import Root
        with Root.open({str(root.path)!r}, read_only=True) as root:
            with root.open_version({photos.id!r}) as version:
                assert version.path("v.blk").read_bytes()[4096:4097] == b"x"
        try:
            Root.open({str(root.path)!r}).create("collections", "b", {{}})
        except StorageFailure as failure:
            print("refused", failure.errno)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    for path in paths:
        path.chmod(0o755)
    assert done.stdout == "refused 13\n", done.stderr


# Kinds


def test_a_name_is_unique_within_its_kind(root):
    records = [root.create(kind, "cora", {"of": kind}) for kind in KINDS]

    assert len({record.id for record in records}) == len(KINDS)
    for record in records:
        assert root.get(record.kind, "cora") == record
        assert root.list_objects(record.kind) == [record]
        with pytest.raises(AlreadyExists, match=rf"{KINDS[record.kind]} 'cora' exists"):
            root.create(record.kind, "cora", {})
    assert root.statistics().num_objects == dict.fromkeys(KINDS, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_of_every_kind_have_versions_jobs_and_garbage(root, commit, kind):
    record = root.create(kind, "x", {})
    assert not (root.path / kind / record.id).exists()

    commit(root, record.id, b"one")
    with root.open_version(record.id) as reading:
        commit(root, record.id, b"two", "job")
        assert root.gc() == []
        assert reading.path("v.blk").parent == root.path / kind / record.id / "v000001"
    assert root.gc() == [f"{kind}/{record.id}/v000001"]
    root.drop(kind, "x")
    with pytest.raises(NotFound, match=f"no {KINDS[kind]} 'x'"):
        root.get(kind, "x")
    assert root.gc() == [f"{kind}/{record.id}/v000002", f"{kind}/{record.id}"]


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_collection_leaves_the_work_of_a_living_writer(root, commit, write_file, kind):
    record = root.create(kind, "x", {})
    with root.begin_version(record.id) as writer:
        entry = write_file(writer.folder / "v.blk", b"x")
        assert root.gc() == []
        with pytest.raises(Unavailable, match=f"{KINDS[kind]} 'x' is being written"):
            root.drop(kind, "x")
        writer.commit([entry], {})
    assert root.list_versions(record.id)[0].object_id == record.id


def test_an_unknown_kind_is_refused(root):
    for call in (root.get, root.drop, lambda kind, name: root.create(kind, name, {})):
        with pytest.raises(InvalidArgument, match="expected collections, graphs, features, plans; found 'graph'"):
            call("graph", "x")


# Several processes and threads


def _read_versions(path: str, collection_id: str, barrier, results) -> None:
    seen, errors, opened = set(), [], 0
    barrier.wait()
    with Root.open(path, read_only=True) as root:
        while (opened < 150 or len(seen) < 3) and not errors:
            opened += 1
            try:
                with root.open_version(collection_id) as version:
                    payload = version.path("v.blk").read_bytes()[4096:]
                    assert payload.startswith(b"%d." % version.manifest.version)
                    seen.add(version.manifest.version)
            except BaseException as error:
                errors.append(repr(error))
    results.put((sorted(seen), errors))


def test_readers_in_other_processes_always_find_a_whole_version_while_versions_come_and_go(root, photos, commit):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    commit(root, photos.id, b"1.")
    readers = [
        context.Process(target=_read_versions, args=(str(root.path), photos.id, barrier, results)) for _ in range(2)
    ]
    for reader in readers:
        reader.start()
    barrier.wait()
    number = 1
    while any(reader.is_alive() for reader in readers):
        number += 1
        commit(root, photos.id, b"%d." % number)
        root.gc()
    found = [results.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert [errors for _, errors in found] == [[], []]
    assert all(len(seen) >= 3 for seen, _ in found)
    root.gc()
    assert [manifest.version for manifest in root.list_versions(photos.id)] == [number]


def test_threads_share_a_root(root, photos, commit):
    commit(root, photos.id, b"x")
    errors = []

    def work(name):
        try:
            collection = root.create("collections", name, {})
            for _ in range(5):
                commit(root, collection.id, name.encode())
                root.gc()
                root.open_version(photos.id).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert root.statistics().num_versions == 4


# Full disks


@pytest.mark.usefixtures("no_wait_for_device")
def test_a_full_disk_fails_cleanly_at_any_step_and_the_old_version_stays(root, photos, commit, write_file):
    commit(root, photos.id, b"old")
    steps = []
    with os_calls.intercepted(lambda step, path, source: steps.append(step)):
        commit(root, photos.id, b"old", "job")
    for refuse_at in range(len(steps)):
        count = iter(range(10_000))

        def refuse(step, path, source, count=count, refuse_at=refuse_at):
            if next(count) >= refuse_at and step in ("create", "write", "mkdir", "commit"):
                raise OSError(28, "No space left on device")

        before = root.get("collections", "photos").current_version
        expected = before
        with os_calls.intercepted(refuse), contextlib.suppress(StorageFailure):
            expected = commit(root, photos.id, b"new", "job").version
        with Root.open(root.path) as again, again.open_version(photos.id) as version:
            assert version.manifest.version == expected
        with root.begin_version(photos.id, "job") as writer:  # room again: the same job goes on
            writer.commit([write_file(writer.folder / "v.blk", b"old")], {})
        root.gc()
        assert len(root.list_versions(photos.id)) == 1
        assert list((root.path / "tmp").iterdir()) == []


# What other processes commit


def test_objects_are_those_of_the_last_commit_of_anybody(root, commit):
    with Root.open(root.path) as other:
        made = other.create("collections", "photos", {"dim": 4})
        assert root.get("collections", "photos") == made
        for version in range(1, 4):
            commit(other, made.id, b"x" * version)
            assert root.get("collections", "photos").current_version == version
        other.drop("collections", "photos")
        with pytest.raises(NotFound, match="no collection 'photos'"):
            root.get("collections", "photos")
        again = other.create("collections", "photos", {"dim": 8})
        assert root.get("collections", "photos") == again


def test_what_is_asked_again_is_not_read_again(root, photos, monkeypatch):
    assert root.get("collections", "photos") == photos
    monkeypatch.setattr("outcrop.store.catalog._SURELY_TICKED_NS", 0)
    root.get("collections", "photos")
    monkeypatch.setattr(root, "_records", None)  # would be read
    assert root.get("collections", "photos") == photos
