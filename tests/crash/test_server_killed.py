"""Processes of a server are killed at random moments: what was acknowledged is there, what was accepted is done."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.server.test_index_service import UPLOAD, make
from tests.server.test_uploads import chunks_of
from tests.serving import Served, serving

import outcrop
from outcrop.errors import NotFound, Unavailable
from outcrop.v1 import index_pb2, job_pb2, upload_pb2

ROWS, DIM = 1500, 16
SETTINGS = {"threads": 1, "reader": "pread", "memory": "64MiB", "workers": 2}
OVER = {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


@pytest.fixture
def seed():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


def vectors_of(number):
    """The first component of every vector tells its number."""
    rows = np.random.default_rng(number).normal(size=(ROWS, DIM)).astype(np.float32)
    rows[:, 0] = 100 * number
    return rows


def patiently(call, *arguments, **named):
    """What the call answers, as often as it takes: processes of the server are being started again."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return call(*arguments, **named)
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def place_of(rpc, upload_id):
    """How many bytes of its vectors are durable."""
    try:
        arrays = patiently(rpc.call, upload_pb2.GetUploadRequest(upload_id=upload_id), timeout=20).arrays
    except NotFound:
        return 0
    return sum(array.num_rows * DIM * 4 + array.partial_bytes for array in arrays)


def uploaded(rpc, upload_id, rows, rng):
    """Send the vectors, and go on where the server says after each break."""
    least = 0
    while (start := place_of(rpc, upload_id)) < rows.nbytes:
        assert start >= least, "what was acknowledged is gone"
        parts = list(chunks_of("vectors", rows, [rng.randrange(500, 9000)], upload_id, start))
        try:
            [array] = rpc.collect(UPLOAD, parts[: rng.randrange(1, 12)], timeout=20).arrays
            least = array.num_rows * DIM * 4 + array.partial_bytes
        except Unavailable:
            time.sleep(0.1)


def processes_of(server: Served):
    """The supervisor and its workers."""
    pid = server.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def kill_one(server, rng):
    """Kill one of its processes; return whether all of the server is down."""
    time.sleep(rng.uniform(0, 1.5))
    victim = rng.choice(processes_of(server))
    os.kill(victim, signal.SIGKILL)
    if victim != server.process.pid:
        return False
    server.process.wait()
    return True


@pytest.mark.crash
@pytest.mark.parametrize("kills", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_jobs_and_uploads_survive_kills_of_any_process(tmp_path, seed, kills):
    rng = random.Random(seed)
    path, jobs, left = tmp_path / "root", [], kills
    while True:
        with serving(path, **SETTINGS) as server, Rpc(server.address) as rpc:
            if not jobs:
                make(rpc)
            down = False
            while left and not down:
                number = len(jobs) + 1
                uploaded(rpc, f"u{number}", vectors_of(number), rng)
                request = index_pb2.BuildIndexRequest(
                    collection="c", upload_id=f"u{number}", job_id=f"build-{number}", memory_bytes=64 << 20
                )
                patiently(rpc.call, request, timeout=20)
                jobs.append(request.job_id)
                down = kill_one(server, rng)
                left -= 1
            if down:
                continue
            for job_id in jobs:
                ask = job_pb2.GetJobRequest(job_id=job_id)
                deadline = time.monotonic() + 120
                while (job := patiently(rpc.call, ask, timeout=20).job).state not in OVER:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
            assert server.stop(60) == 0
            break
    assert len(jobs) == kills
    assert list((path / "service/uploads").iterdir()) == []
    with outcrop.connect(path, reader="pread", threads=1) as database:
        collection = database.collection("c")
        last = vectors_of(len(jobs))
        assert np.array_equal(collection.search(last[:50], 1, nprobe=1000).ids[:, 0], np.arange(50))
        assert collection.verify().problems == ()
        database.gc()
        assert database.connection.root.list_jobs() == []
        assert list((path / "tmp").iterdir()) == []
