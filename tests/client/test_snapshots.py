"""Snapshots from a distance: downloaded in ranges and to files, taken up where they broke off."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serving import Served, serving

import outcrop
from outcrop.client import Database, parse_endpoint
from outcrop.client.snapshot_archive import archive_chunks
from outcrop.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound, Unavailable
from outcrop.types import ArchiveInfo

ROWS = np.random.default_rng(1).standard_normal((3000, 512)).astype(np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots") / "root"
    with outcrop.connect(path) as database:
        database.import_features("x", ROWS).wait()
    return path


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


def test_a_download_whose_server_is_killed_goes_on_when_it_is_back(root: Path, tmp_path: Path) -> None:
    with serving(root, threads=1, reader="pread") as first, Database(parse_endpoint(first.url)) as database:
        database.create_snapshot("tuesday")
        archive = database.snapshot_archive("tuesday")
        chunks = archive_chunks(archive, 0)
        received = [next(chunks)]
        first.kill()
        with serving(root, threads=1, reader="pread", listen=first.address):
            received += chunks
            assert b"".join(received) == archive.read(0, archive.size_bytes)
            database.delete_snapshot("tuesday")


def test_a_server_that_is_gone_is_told(root: Path, tmp_path: Path) -> None:
    with serving(root, threads=1, reader="pread") as server:
        gone = server.url
    with Database(parse_endpoint(gone, timeout=1)) as database, pytest.raises(Unavailable):
        database.create_snapshot("never")
