"""Long work tells how far it is and how long the rest will take."""

import threading
from types import SimpleNamespace

import pytest

from outcrop import jobs
from outcrop.errors import Cancelled
from outcrop.jobs import Job
from outcrop.types import Progress


def test_a_job_estimates_what_its_work_does_not(monkeypatch):
    clock = iter([0.0, 0.5, 10.0, 20.0])
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    begin = threading.Event()
    seen = []

    def work(report):
        begin.wait()
        for fraction in (0.5, 0.505, 0.6, 0.75):  # resumed where half was done
            report(Progress("sort", fraction, None))
            seen.append(job.progress.seconds_left)
        report(Progress("sort", 0.8, 7.0))
        return job.progress.seconds_left

    job = Job("sorting", work)
    begin.set()

    assert job.wait() == 7.0, "an estimate of the work's own stays"
    assert seen == [None, None, pytest.approx(40.0), pytest.approx(20.0)]


def test_a_cancelled_job_says_how_to_go_on():
    def work(report):
        while True:
            report(Progress("sort", 0.25, None))

    job = Job("sorting", work)
    job.cancel()
    with pytest.raises(Cancelled, match="sorting: cancelled at 25%; the same call resumes it"):
        job.wait()
    assert job.done
