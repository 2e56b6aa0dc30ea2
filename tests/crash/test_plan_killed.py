"""Real processes that make plans are killed at random moments. A plan is the old one or the new one, always whole."""

import random

import numpy as np
import pytest
from tests.crash import plan_process as planning
from tests.crash.killing import lines_until_killed

import outcrop


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


def plan_and_kill(path, delay_s):
    """Run a planner, kill it `delay_s` after it began; return the last version that was there, and its last stage."""
    lines = lines_until_killed("plan_process.py", path, delay_s)
    there = [int(words[1]) for words in lines if words[0] == "there"]
    stages = [words[1] for words in lines if words[0] == "stage"]
    return there[-1] if there else 0, stages[-1] if stages else "begin"


def check_plan(database, version, rows):
    """Everything in the current plan is right, and it is that of `version`: its loader gives the sampler's seeds."""
    with database.plan("p") as plan:
        assert plan.manifest.version == version
        assert plan.verify().problems == ()
        with plan.loader() as loader:
            first = loader.next_minibatch()
            assert np.array_equal(first.features["x"], rows[first.nodes["node"]])
            assert set(first.seeds % 3) == {version % 3}


@pytest.mark.crash
@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_plans_resume_and_versions_are_whole(tmp_path, seed, kills):
    rng = random.Random(seed)
    path = tmp_path / "root"
    rows = planning.rows()
    with outcrop.connect(path) as database:
        database.import_graph("g", planning.graph()).wait()
        database.import_features("x", rows).wait()
    last = 0
    for _ in range(kills):
        there, stage = plan_and_kill(path, rng.uniform(0.02, 1.5))
        with outcrop.connect(path) as database:
            records = database.connection.root.list_objects("plans")
            version = (records[0].current_version or 0) if records else 0
            print(f"killed in {stage}: version {version}")
            assert version in {max(last, there), max(last, there) + 1}
            if version:
                check_plan(database, version, rows)
            last = version
            database.gc()
            assert all(job.id.startswith("plan-") for job in database.connection.root.list_jobs())
    with outcrop.connect(path) as database:
        database.create_plan("p", **planning.arguments(last + 1)).wait()
        check_plan(database, last + 1, rows)
        assert database.connection.root.list_jobs() == []
        assert list((path / "tmp").iterdir()) == []
