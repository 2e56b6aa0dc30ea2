"""Real processes are killed while they make, export, restore and delete snapshots. What they announced is there."""

import random

import numpy as np
import pytest
from tests.crash import snapshot_process as keeping
from tests.crash.killing import lines_until_killed

import outcrop
from outcrop.store.snapshots import ArchiveFile, verify_source


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


def number_of(database, table):
    """Which rows a table holds, after all of them were compared; 0 when there is none."""
    if table not in database.feature_names():
        return 0
    try:
        opened = database.features(table)
    except outcrop.errors.NotFound:
        return 0
    with opened:
        rows = opened.fetch(np.arange(opened.num_rows))
    number = int(rows[0, 1])
    assert np.array_equal(rows, keeping.rows_of(number))
    return number


def check_snapshots(database, there, deleted):
    """Every snapshot that was announced, and not deleted since, pins both tables as they were, every byte."""
    found = {int(each.name[1:]): each for each in database.list_snapshots()}
    assert there - deleted <= set(found)
    for number, snapshot in found.items():
        assert {each.name for each in snapshot.objects} == set(keeping.TABLES)
        assert database.verify_snapshot(snapshot.name).wait().problems == ()
        renamed = {table: f"{table}-check" for table in keeping.TABLES}
        database.restore_snapshot(snapshot.name, rename=renamed).wait()
        assert {number_of(database, f"{table}-check") for table in keeping.TABLES} == {number}
    for table in keeping.TABLES:
        if found:
            database.drop_features(f"{table}-check")


@pytest.mark.crash
@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_snapshots_exports_and_restores_are_whole_and_go_on(tmp_path, seed, kills):
    rng = random.Random(seed)
    path, archives = tmp_path / "root", tmp_path / "archives"
    archives.mkdir()
    there, deleted = {"create": set(), "export": set(), "restore": set()}, set()
    for _ in range(kills):
        lines = lines_until_killed("snapshot_process.py", path, rng.uniform(0.05, 1.5))
        print(f"killed after {lines[-1] if lines else 'nothing'}")
        for word, what, number in lines:
            if what == "delete":
                deleted.add(int(number))
            elif word == "there":
                there[what].add(int(number))
        with outcrop.connect(path) as database:
            restored = {number_of(database, f"{table}-back") for table in keeping.TABLES}
            assert max(restored) >= max(there["restore"], default=0)
            check_snapshots(database, there["create"], deleted)
            database.gc()
            assert database.gc() == []
        for number in there["export"]:
            assert list(verify_source(ArchiveFile(archives / f"s{number}"), lambda done: None)) == []
    with outcrop.connect(path) as database:
        number = 1 + max((int(each.name[1:]) for each in database.list_snapshots()), default=0)
        for table in keeping.TABLES:
            database.import_features(table, keeping.rows_of(number)).wait()
        database.create_snapshot("last", objects=[("features", table) for table in keeping.TABLES])
        database.restore_snapshot("last", rename={table: f"{table}-back" for table in keeping.TABLES}).wait()
        assert {number_of(database, f"{table}-back") for table in keeping.TABLES} == {number}
        assert database.connection.root.list_jobs() == []
