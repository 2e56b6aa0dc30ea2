"""Snapshots from a distance: downloaded in ranges and to files, taken up where they broke off."""

import asyncio
import contextlib
import errno
import inspect
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faces import differences
from tests.serving import Served, serving

import outcrop
from outcrop.client import Database, parse_endpoint, partial_file, snapshot_jobs
from outcrop.client.async_snapshots import AsyncSnapshots
from outcrop.client.snapshot_archive import AsyncSnapshotArchive, SnapshotArchive
from outcrop.client.snapshots import Snapshots
from outcrop.embedded import Database as Embedded
from outcrop.errors import AlreadyExists, Cancelled, CorruptFile, InvalidArgument, NotFound, StorageFailure, Unavailable
from outcrop.store import snapshots as engine
from outcrop.types import ArchiveInfo, Progress, RestoredObject

ROWS = np.random.default_rng(1).standard_normal((3000, 512)).astype(np.float32)


def fill(path: Path) -> Path:
    """A root with one table."""
    with outcrop.connect(path) as database:
        database.import_features("x", ROWS).wait()
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("snapshots") / "root")


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    with serving(root, threads=1, reader="pread") as server:
        yield server


@pytest.fixture
def database(served: Served) -> Iterator[Database]:
    """With the snapshot `monday` of one table."""
    with Database(parse_endpoint(served.url)) as database:
        database.create_snapshot("monday", objects=[("features", "x")])
        yield database
        for each in database.list_snapshots():
            database.delete_snapshot(each.name)


@pytest.fixture
def whole(root: Path, database: Database, tmp_path: Path) -> bytes:
    """The archive, as the engine writes it."""
    with outcrop.connect(root, read_only=True) as embedded:
        embedded.export_snapshot("monday", tmp_path / "expected").wait()
    return (tmp_path / "expected").read_bytes()


def test_a_snapshot_is_made_listed_and_deleted(database: Database) -> None:
    (found,) = database.list_snapshots()
    assert database.snapshot("monday") == found
    assert [(each.kind, each.name, each.version) for each in found.objects] == [("features", "x", 1)]
    assert found.size_bytes > ROWS.nbytes
    with pytest.raises(AlreadyExists, match="snapshot 'monday' exists; delete it first"):
        database.create_snapshot("monday")
    database.delete_snapshot("monday")
    with pytest.raises(NotFound, match="no snapshot 'monday'"):
        database.snapshot("monday")


def test_ranges_of_the_archive_are_those_of_the_engine(root: Path, database: Database, whole: bytes) -> None:
    with database.snapshot_archive("monday") as archive, outcrop.connect(root, read_only=True) as embedded:
        with embedded.snapshot_archive("monday") as expected:
            assert (archive.size_bytes, archive.etag) == (expected.size_bytes, expected.etag)
            for offset, length in ((0, 100), (5, 3 << 20), (len(whole) - 3, 10), (len(whole), 5), (7, 0)):
                assert archive.read(offset, length) == expected.read(offset, length)
            for wrong in ((-1, 5), (5, -1)):
                with pytest.raises(InvalidArgument, match="offset and length from 0"):
                    archive.read(*wrong)
        database.delete_snapshot("monday")
        with pytest.raises(NotFound):
            archive.read(0, 10)
        database.create_snapshot("monday", objects=[("features", "x")])
        with pytest.raises(InvalidArgument, match="made anew"):
            archive.read(0, 10)


def test_an_export_writes_the_archive_to_a_new_file(database: Database, whole: bytes, tmp_path: Path) -> None:
    seen: list[Any] = []
    written = database.export_snapshot("monday", tmp_path / "archive").wait(progress=seen.append)
    assert (tmp_path / "archive").read_bytes() == whole
    assert written == ArchiveInfo(str(tmp_path / "archive"), len(whole), database.snapshot_archive("monday").etag)
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "expected"}
    with pytest.raises(AlreadyExists, match="replaces nothing"):
        database.export_snapshot("monday", tmp_path / "archive")
    with pytest.raises(NotFound, match="no such folder"):
        database.export_snapshot("monday", tmp_path / "missing" / "archive")
    with pytest.raises(NotFound, match="no snapshot 'tuesday'"):
        database.export_snapshot("tuesday", tmp_path / "tuesday")


def leave_partial(database: Database, path: Path, size_bytes: int, etag: str | None = None) -> None:
    """What a killed export leaves: so many bytes of the archive, marked so that it shows whether they are kept."""
    archive = database.snapshot_archive("monday")
    path.with_name(f"{path.name}.partial").write_bytes(b"\xaa" * size_bytes + b"not durable")
    note = {"etag": etag or archive.etag, "size_bytes": size_bytes}
    path.with_name(f"{path.name}.partial.json").write_text(json.dumps(note))


def test_an_export_goes_on_behind_what_is_durable(database: Database, whole: bytes, tmp_path: Path) -> None:
    leave_partial(database, tmp_path / "archive", 1_500_000)
    database.export_snapshot("monday", tmp_path / "archive").wait()
    assert (tmp_path / "archive").read_bytes() == b"\xaa" * 1_500_000 + whole[1_500_000:]


def test_an_export_that_lacks_only_its_name_gets_it(database: Database, whole: bytes, tmp_path: Path) -> None:
    leave_partial(database, tmp_path / "archive", len(whole))
    database.export_snapshot("monday", tmp_path / "archive").wait()
    assert (tmp_path / "archive").stat().st_size == len(whole)


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"etag": "another", "size_bytes": 10}'])
def test_an_export_begins_anew_where_what_is_there_is_of_another_archive(
    database: Database, whole: bytes, tmp_path: Path, note: str
) -> None:
    leave_partial(database, tmp_path / "archive", 1_500_000)
    (tmp_path / "archive.partial.json").write_text(note)
    database.export_snapshot("monday", tmp_path / "archive").wait()
    assert (tmp_path / "archive").read_bytes() == whole


def test_a_cancelled_export_is_completed_by_the_next(database: Database, whole: bytes, tmp_path: Path) -> None:
    job = database.export_snapshot("monday", tmp_path / "archive")
    job.cancel()
    with contextlib.suppress(Cancelled):
        job.wait()
    if not (tmp_path / "archive").exists():
        database.export_snapshot("monday", tmp_path / "archive").wait()
    assert (tmp_path / "archive").read_bytes() == whole


def test_a_full_disk_ends_an_export_and_the_next_one_goes_on(
    database: Database, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(partial_file, "_SYNCED_BYTES", 1 << 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFailure) as raised:
            database.export_snapshot("monday", tmp_path / "archive").wait(timeout=60)
    assert raised.value.errno == errno.ENOSPC
    assert not (tmp_path / "archive").exists()
    database.export_snapshot("monday", tmp_path / "archive").wait(timeout=60)
    assert (tmp_path / "archive").read_bytes() == whole


def test_a_download_whose_server_is_killed_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_jobs, "_SEGMENT_BYTES", 16 << 10)
    root = fill(tmp_path / "root")
    with serving(root, threads=1, reader="pread") as first, Database(parse_endpoint(first.url)) as database:
        database.create_snapshot("monday")
        job = database.export_snapshot("monday", tmp_path / "archive")
        while not job.progress.fraction:
            time.sleep(0.001)
        first.kill()
        assert not job.done
        with serving(root, threads=1, reader="pread", listen=first.address):
            job.wait(timeout=60)
    with outcrop.connect(root) as embedded:
        embedded.export_snapshot("monday", tmp_path / "expected").wait()
    assert (tmp_path / "archive").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_server_that_is_gone_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "root", threads=1, reader="pread") as server:
        gone = server.url
    with Database(parse_endpoint(gone, timeout=1)) as database, pytest.raises(Unavailable):
        database.create_snapshot("never")


def test_a_snapshot_is_verified_by_the_server(database: Database, tmp_path: Path) -> None:
    report = database.verify_snapshot("monday").wait(timeout=60)
    assert (report.name, report.num_objects, report.problems) == ("monday", 1, ())
    assert report.size_bytes == database.snapshot("monday").size_bytes
    with pytest.raises(NotFound, match="no snapshot 'tuesday'"):
        database.verify_snapshot("tuesday")
    with pytest.raises(InvalidArgument, match="an archive is verified where it lies"):
        database.verify_snapshot(tmp_path / "archive")


def test_what_is_restored_is_there_to_the_bit(database: Database, root: Path) -> None:
    job = database.restore_snapshot("monday", rename={"features/x": "again"})
    assert job.wait(timeout=60).objects == (RestoredObject("features", "again", 1),)
    with outcrop.connect(root, read_only=True) as embedded, embedded.features("again") as table:
        assert np.array_equal(table.fetch(np.arange(len(ROWS))), ROWS)
    database.drop_features("again")


def test_an_archive_of_this_machine_is_uploaded_and_restored(database: Database, tmp_path: Path) -> None:
    database.export_snapshot("monday", tmp_path / "archive").wait(timeout=60)
    with serving(tmp_path / "root", threads=1, reader="pread") as other, Database(parse_endpoint(other.url)) as there:
        seen: list[Progress] = []
        job = there.restore_snapshot(tmp_path / "archive", objects=[("features", "x")])
        assert job.wait(timeout=60, progress=seen.append).objects == (RestoredObject("features", "x", 1),)
        assert job.progress.fraction == 1
        with there.features("x") as table:
            assert np.array_equal(table.fetch(np.arange(len(ROWS))), ROWS)


def test_what_is_no_archive_is_told_by_the_job(database: Database, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"noise" * 1000)
    with pytest.raises(CorruptFile, match="not a snapshot's archive"):
        database.restore_snapshot(tmp_path / "noise").wait(timeout=60)
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidArgument, match="found an empty file"):
        database.restore_snapshot(tmp_path / "empty")
    with pytest.raises(NotFound, match="missing: no such file"):
        database.restore_snapshot(tmp_path / "missing")


def test_no_objects_are_not_all_objects(database: Database) -> None:
    with pytest.raises(InvalidArgument, match="expected at least one object with a version, found none"):
        database.create_snapshot("none", objects=[])
    with pytest.raises(InvalidArgument, match="restore: expected at least one object, found none"):
        database.restore_snapshot("monday", objects=[])
    with pytest.raises(InvalidArgument, match="'y' is not among what is restored"):
        database.restore_snapshot("monday", rename={"y": "z"})


def test_tasks_have_the_same(served: Served, root: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with outcrop.connect_async(served.url) as database:
            made = await database.create_snapshot("monday", objects=[("features", "x")])
            assert await database.list_snapshots() == [made] == [await database.snapshot("monday")]
            written = await (await database.export_snapshot("monday", tmp_path / "archive")).wait(timeout=60)
            with pytest.raises(AlreadyExists):
                await database.export_snapshot("monday", tmp_path / "archive")
            archive = await database.snapshot_archive("monday")
            assert (archive.size_bytes, archive.etag) == (written.size_bytes, written.etag)
            assert await archive.read(100, 2 << 20) == (tmp_path / "archive").read_bytes()[100 : 100 + (2 << 20)]
            assert (await (await database.verify_snapshot("monday")).wait(timeout=60)).problems == ()
            for source, name in (("monday", "one"), (tmp_path / "archive", "two")):
                job = await database.restore_snapshot(source, rename={"x": name})
                assert (await job.wait(timeout=60)).objects == (RestoredObject("features", name, 1),)
                await database.drop_features(name)
            with pytest.raises(InvalidArgument, match="found none"):
                await database.restore_snapshot("monday", objects=[])
            await database.delete_snapshot("monday")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("original", "twin"),
    [(engine.SnapshotArchive, SnapshotArchive), (engine.SnapshotArchive, AsyncSnapshotArchive)],
)
def test_an_archive_from_elsewhere_is_the_twin_of_one_here(original: type, twin: type) -> None:
    assert differences(original, twin) == []


@pytest.mark.parametrize("twin", [Snapshots, AsyncSnapshots])
def test_the_methods_of_a_database_take_the_same_arguments(twin: type) -> None:
    names = {name for name in dir(Embedded) if "snapshot" in name and not name.startswith("_")}
    assert names == {name for name in dir(twin) if not name.startswith("_")}
    for name in names:
        one, other = (inspect.signature(getattr(cls, name)).parameters for cls in (Embedded, twin))
        assert list(one.values()) == list(other.values()), name


def test_several_processes_serve_snapshots(tmp_path: Path) -> None:
    root = fill(tmp_path / "root")
    with serving(root, workers=2, threads=1, reader="pread") as server, outcrop.connect(server.url) as database:
        for number in range(3):
            database.create_snapshot(f"s{number}")
            assert database.export_snapshot(f"s{number}", tmp_path / f"s{number}").wait(timeout=60).size_bytes
            assert database.verify_snapshot(f"s{number}").wait(timeout=60).problems == ()
        job = database.restore_snapshot(tmp_path / "s0", rename={"x": "again"})
        assert job.wait(timeout=60).objects == (RestoredObject("features", "again", 1),)
        for number in range(3):
            database.delete_snapshot(f"s{number}")
        assert database.list_snapshots() == []
