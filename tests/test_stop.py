"""A deadline, and a request to stop, as calls see them."""

import math
import threading
import time

import numpy as np
import pytest

from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from outcrop.stop import Stop, check, stop_of


def test_without_a_timeout_time_is_never_over() -> None:
    for stop in (Stop(), Stop(None), Stop(math.inf), Stop(1e300)):
        stop.check()
        assert stop.deadline is None
        assert stop.remaining() is None
        assert not stop.is_set


def test_a_timeout_of_nothing_is_over_at_once() -> None:
    stop = Stop(0)

    assert stop.remaining() == 0
    with pytest.raises(DeadlineExceeded, match="allow more"):
        stop.check()


def test_a_deadline_comes() -> None:
    began = time.monotonic()
    stop = Stop(np.float32(0.05))
    stop.check()
    assert stop.deadline is not None
    assert stop.deadline - began == pytest.approx(0.05, abs=0.03)
    remaining = stop.remaining()
    assert remaining is not None
    assert 0 < remaining <= 0.05

    time.sleep(0.06)

    with pytest.raises(DeadlineExceeded):
        stop.check()
    assert stop.remaining() == 0


def test_deadlines_are_timeouts_and_may_be_retried() -> None:
    with pytest.raises(TimeoutError):
        Stop(0).check()
    with pytest.raises(Unavailable):
        Stop(0).check()


def test_any_thread_may_set_it_and_cancelling_goes_before_the_deadline() -> None:
    stop = Stop(0)

    thread = threading.Thread(target=stop.set)
    thread.start()
    thread.join()

    assert stop.is_set
    with pytest.raises(Cancelled):
        stop.check()


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, "1", True, [1]])
def test_what_is_no_number_of_seconds_is_refused(timeout: object) -> None:
    with pytest.raises(InvalidArgument, match="timeout: expected seconds of at least 0"):
        Stop(timeout)  # type: ignore[arg-type]


def test_a_call_takes_a_timeout_or_a_stop() -> None:
    stop = Stop()

    assert stop_of(None, None) is None
    assert stop_of(None, stop) is stop
    made = stop_of(5.0, None)
    assert made is not None
    assert made.deadline is not None
    with pytest.raises(InvalidArgument, match="exclude each other"):
        stop_of(5.0, stop)
    check(None)
