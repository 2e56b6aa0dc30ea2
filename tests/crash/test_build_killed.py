"""Real building processes are killed at random moments. Readers see the old version or the new one, always whole."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import outcrop

HERE = Path(__file__).parent
ROWS = 3000


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


def build_and_kill(path, delay_s):
    """Run a builder, kill it `delay_s` after it began, and return (versions announced as built, its last stage)."""
    with subprocess.Popen(
        [sys.executable, str(HERE / "build_process.py"), str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        process.kill()
        lines = process.stdout.read().split("\n")[:-1]
    stages = [line.removeprefix("stage ") for line in lines if line.startswith("stage")]
    return [int(line.split()[1]) for line in lines if line.startswith("built")], stages[-1] if stages else "start"


class Reader:
    """A process that searches all the time; its lines are collected."""

    def __init__(self, path):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "search_process.py"), str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.thread = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.thread.start()

    def stop(self):
        """Return what it saw; fails when it has ended before."""
        assert self.process.poll() is None, self.process.stderr.read()
        self.process.kill()
        self.thread.join()
        self.process.communicate()
        return [line.split() for line in self.lines[:-1]]


def check_root(path, versions):
    """The current version is one of `versions` and answers exactly. Returns it."""
    with outcrop.connect(path, memory="16MiB", reader="pread", threads=1) as database:
        collection = database.collection("c")
        version = collection.info().version
        assert version in versions
        if version is not None:
            ids = collection.search(np.zeros(24, np.float32), ROWS, exact=True).ids[0]
            assert np.array_equal(np.sort(ids), np.arange(ROWS) + 10**10 * version)
            assert collection.verify().problems == ()
        return version


@pytest.mark.crash
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_builds_resume_and_readers_see_whole_versions(tmp_path, seed, kills):
    rng = random.Random(seed)
    path = tmp_path / "root"
    longest = 2.0
    version = None
    reader = None
    for attempt in range(kills):
        built, stage = build_and_kill(path, rng.uniform(0.05, longest))
        at_least = max([version or 0, *built])
        version = check_root(path, {at_least or None, at_least + 1})
        print(f"killed in {stage}: version {version}")
        if reader is None and version is not None:
            reader = Reader(path)
        if version is None and attempt == 2:
            longest = 10.0  # a slow machine
    if reader is None:
        version = build_whole(path)
        reader = Reader(path)
        time.sleep(1.0)
    seen = reader.stop()
    assert seen, "the reader searched"
    last = 0
    for before, after, complete, *versions in seen:
        assert complete == "True"
        assert len(versions) == 1, f"parts of several versions: {versions}"
        assert int(before) <= int(versions[0]) <= int(after)
        assert last <= int(versions[0])
        last = int(versions[0])
    version = build_whole(path)
    check_root(path, {version})
    with outcrop.connect(path) as database:
        database.gc()
        assert list((path / "tmp").iterdir()) == []
        folder = path / "collections" / database.collection("c").id
        assert {entry.name for entry in folder.iterdir()} == {f"v{version:06d}", "writer"}


def build_whole(path):
    """Let a builder build one version and end, and return that."""
    subprocess.run([sys.executable, str(HERE / "build_process.py"), str(path), "1"], check=True, capture_output=True)
    with outcrop.connect(path, create=False) as database:
        return database.collection("c").info().version
