"""The writer is cut at every step, loses power, or is killed as a real process; then all is opened again."""

import contextlib
import importlib.util
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from outcrop.errors import NotFound
from outcrop.store import FileEntry, Root, os_calls
from outcrop.store.format.block_file import BLOCK_BYTES, unpack_header
from outcrop.store.version_writer import check_entry


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


power_loss = load("power_loss")
crash_writer = load("crash_writer")


def check_root(path: Path, acceptable: set[int | None]) -> int | None:
    """Open the root; the current version must be whole and one of `acceptable`. Return it."""
    with Root.open(path) as root:
        try:
            collection = root.get(crash_writer.KIND, "c")
        except NotFound:
            assert None in acceptable
            return None
        try:
            with root.open_version(collection.id) as version:
                number = version.manifest.version
                for entry in version.manifest.files:
                    data = version.path(entry.name).read_bytes()
                    header = unpack_header(data[:BLOCK_BYTES], entry.name)
                    assert header.file_id == entry.file_id
                    payload = data[BLOCK_BYTES : BLOCK_BYTES + header.payload_bytes]
                    assert payload == crash_writer.payload_of(version.manifest.properties["number"])
        except NotFound:
            number = None
    assert number in acceptable
    return number


def check_job(path: Path) -> None:
    """What a job's state speaks of is there, whole."""
    with Root.open(path) as root:
        for job in root.list_jobs():
            with root.begin_version(job.object_id, job.id) as writer:
                for fields in writer.load_state().get("done", []):
                    entry = FileEntry.from_json(fields)
                    check_entry(writer.folder / entry.name, entry)


def check_no_garbage(path: Path) -> None:
    """After gc the root holds the current version and what resumable jobs need; a second gc finds nothing."""
    with Root.open(path) as root:
        for job in root.list_jobs():
            root.forget_job(job.id)
        root.gc()
        assert root.gc() == []
        (collection,) = root.list_objects(crash_writer.KIND)
        folder = path / crash_writer.KIND / collection.id
        current = {f"v{manifest.version:06d}" for manifest in root.list_versions(collection.id)}
        assert len(current) <= 1
        assert {entry.name for entry in folder.iterdir()} - {"writer"} == current
        assert list((path / "tmp").iterdir()) == []
        assert {entry.name for entry in (path / "catalog").iterdir()} == {"data.mdb", "seal", "lock"}


def make_old_root(path: Path, num_versions: int = 2) -> None:
    """A root at version 2, so that version 3 is made by a job, and version 1 not yet collected."""
    with Root.open(path) as root:
        collection = root.create(crash_writer.KIND, "c", {})
        for _ in range(num_versions):
            crash_writer.commit_next(root, collection.id)


def commit_and_collect(path: Path) -> None:
    with Root.open(path) as root:
        crash_writer.commit_next(root, root.get(crash_writer.KIND, "c").id)
        root.gc()


def run_until_cut(disk, work, path: Path) -> None:
    with os_calls.intercepted(disk), contextlib.suppress(power_loss.PowerLoss):
        work(path)


@pytest.mark.usefixtures("no_wait_for_device")
@pytest.mark.parametrize("num_versions", [0, 2])
@pytest.mark.parametrize("loses_unsynced", [False, True], ids=["killed", "power-lost"])
def test_a_commit_cut_at_every_step_leaves_the_old_version_or_the_new(tmp_path, seed, loses_unsynced, num_versions):
    make_old_root(tmp_path / "old", num_versions)
    old, new = num_versions or None, num_versions + 1
    counter = power_loss.Disk(None, tmp_path / "kept")
    counter.keep.mkdir()
    shutil.copytree(tmp_path / "old", tmp_path / "counted")
    run_until_cut(counter, commit_and_collect, tmp_path / "counted")
    found = []
    for cut_at in range(len(counter.steps) + 1):
        path = tmp_path / f"cut-{cut_at}"
        disk = power_loss.Disk(cut_at, tmp_path / f"kept-{cut_at}")
        disk.keep.mkdir()
        shutil.copytree(tmp_path / "old", path)
        run_until_cut(disk, commit_and_collect, path)
        if loses_unsynced:
            disk.lose(random.Random(seed + cut_at))
        found.append(check_root(path, {old, new}) or 0)
        check_job(path)
        commit_and_collect(path)  # the next writer resumes the job or begins anew
        check_root(path, {found[-1] + 1})
        check_no_garbage(path)
        shutil.rmtree(path)
    assert found == sorted(found), "once new, never old again"
    assert set(found) == {num_versions, new}


@pytest.mark.usefixtures("no_wait_for_device")
@pytest.mark.parametrize("loses_unsynced", [False, True], ids=["killed", "power-lost"])
def test_making_a_root_and_a_collection_cut_at_every_step_leaves_nothing_or_all(tmp_path, seed, loses_unsynced):
    def make(path):
        with Root.open(path) as root:
            root.create(crash_writer.KIND, "c", {})

    counter = power_loss.Disk(None, tmp_path / "kept")
    counter.keep.mkdir()
    run_until_cut(counter, make, tmp_path / "counted")
    for cut_at in range(len(counter.steps) + 1):
        path = tmp_path / f"cut-{cut_at}"
        disk = power_loss.Disk(cut_at, tmp_path / f"kept-{cut_at}")
        disk.keep.mkdir()
        run_until_cut(disk, make, path)
        if loses_unsynced:
            disk.lose(random.Random(seed + cut_at))
        check_root(path, {None})
        with Root.open(path) as root:
            if not root.list_objects(crash_writer.KIND):
                root.create(crash_writer.KIND, "c", {})
        commit_and_collect(path)
        check_root(path, {1})
        check_no_garbage(path)


@pytest.mark.usefixtures("no_wait_for_device")
def test_a_job_cut_between_rename_and_transaction_takes_its_files_back(tmp_path):
    make_old_root(tmp_path / "old")
    cut_at = 0
    taken_back = 0
    while True:
        path = tmp_path / f"cut-{cut_at}"
        disk = power_loss.Disk(cut_at, tmp_path)
        shutil.copytree(tmp_path / "old", path)
        run_until_cut(disk, commit_and_collect, path)
        if check_root(path, {2, 3}) == 3:
            break
        with Root.open(path) as root:
            orphan = path / crash_writer.KIND / root.get(crash_writer.KIND, "c").id / "v000003"
            if orphan.exists():
                root.gc()
                assert orphan.exists()
                with root.begin_version(root.get(crash_writer.KIND, "c").id, "job-3") as writer:
                    assert len(writer.load_state()["done"]) == 2
                    assert {entry.name for entry in writer.folder.iterdir()} >= {"a.blk", "b.blk"}
                    taken_back += 1
                assert not orphan.exists()
        cut_at += 1
    assert taken_back > 0


def kill_writer_after(path: Path, num_versions: int, delay_s: float) -> list[int]:
    """Run a real writer, kill it `delay_s` after it announced `num_versions`, and return all that it announced."""
    script = Path(__file__).with_name("crash_writer.py")
    with subprocess.Popen([sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        announced = "".join(process.stdout.readline() for _ in range(num_versions))
        time.sleep(delay_s)
        process.kill()
        announced += process.stdout.read()
    return [int(line) for line in announced.split("\n")[:-1]]


@pytest.mark.crash
def test_real_writers_killed_at_random_moments_lose_nothing_they_announced(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "root"
    last: int | None = None
    for _ in range(20):
        announced = kill_writer_after(path, rng.randrange(3), rng.uniform(0, 0.1))
        at_least = max([last or 0, *announced])
        # One commit may have been killed before it was announced, and an orphan's number is not used again.
        last = check_root(path, {at_least or None, at_least + 1, at_least + 2})
        if rng.random() < 0.5:
            check_no_garbage(path)
    assert last is not None
    commit_and_collect(path)
    check_root(path, {last + 1, last + 2})
    check_no_garbage(path)
