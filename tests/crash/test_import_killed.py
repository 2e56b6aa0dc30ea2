"""Real importing processes are killed at random moments. A graph and its features are old or new, always whole."""

import random

import numpy as np
import pytest
from tests.crash import import_process as importing
from tests.crash.killing import lines_until_killed

import outcrop


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


def import_and_kill(path, delay_s):
    """Run an importer, kill it `delay_s` after it began; return the versions that were there, by kind."""
    lines = lines_until_killed("import_process.py", path, delay_s)
    print(f"killed after {lines[-1] if lines else 'nothing'}")
    return {kind: int(version) for word, kind, version in lines if word == "there"}


def check_graph(database, version):
    src, dst = np.random.default_rng(version).integers(0, importing.NODES, (2, importing.EDGES))
    with database.graph("x") as graph:
        assert graph.manifest.version == version
        for edge_type, (of, to) in zip(importing.TYPES, ((src, dst), (dst, src)), strict=True):
            found = graph.csc(edge_type)
            order = np.lexsort((of, to))
            assert np.array_equal(found.indices, of[order])
            assert np.array_equal(np.diff(found.indptr), np.bincount(to, minlength=importing.NODES))
            assert (found.weights == version).all()


def check_rows(database, version):
    with database.features("x") as table:
        assert table.manifest.version == version
        assert np.array_equal(table.fetch(np.arange(table.num_rows)), importing.rows_of(version))


@pytest.mark.crash
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_imports_resume_and_versions_are_whole(tmp_path, seed, kills):
    rng = random.Random(seed)
    path = tmp_path / "root"
    last = {"graphs": 0, "features": 0}
    for _ in range(kills):
        there = import_and_kill(path, rng.uniform(0.02, 1.5))
        with outcrop.connect(path) as database:
            for kind, check in (("graphs", check_graph), ("features", check_rows)):
                records = database.connection.root.list_objects(kind)
                version = (records[0].current_version or 0) if records else 0
                least = max(last[kind], there.get(kind, 0))
                assert version in {least, least + 1}
                if version:
                    check(database, version)
                last[kind] = version
            database.gc()
            for job in database.connection.root.list_jobs():
                assert job.id.startswith("import-")
    with outcrop.connect(path) as database:
        database.import_graph("x", importing.graph_of(last["graphs"] + 1), memory="4MiB").wait()
        database.import_features("x", importing.rows_of(last["features"] + 1), memory="1MiB").wait()
        check_graph(database, last["graphs"] + 1)
        check_rows(database, last["features"] + 1)
        assert database.connection.root.list_jobs() == []
        assert list((path / "tmp").iterdir()) == []
