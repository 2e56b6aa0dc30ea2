"""What is called again, when, and what is not."""

import pytest

from outcrop.client.endpoint import Retries
from outcrop.client.retry import Attempts
from outcrop.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutcropError,
    ResourceExhausted,
    Unavailable,
)
from outcrop.proto.status import Overloaded

RETRIES = Retries(attempts=6, first_seconds=0.1, longest_seconds=0.5)


def pauses(attempts: Attempts, error: OutcropError) -> list[float]:
    found = []
    while True:
        try:
            found.append(attempts.pause_after(error))
        except type(error):
            return found


def test_pauses_double_up_to_the_longest_with_jitter_below() -> None:
    found = pauses(Attempts(RETRIES, True, None), Unavailable("gone"))

    for pause, longest in zip(found, [0.1, 0.2, 0.4, 0.5, 0.5], strict=True):
        assert longest / 2 <= pause <= longest


def test_the_hint_of_an_overloaded_server_is_the_least_pause() -> None:
    for pause in pauses(Attempts(RETRIES, True, None), Overloaded("full", 2.0)):
        assert 2.0 <= pause <= 3.0


@pytest.mark.parametrize(
    "error",
    [
        OutcropError("x"),
        InvalidArgument("x"),
        NotFound("x"),
        ResourceExhausted("x"),
        DeadlineExceeded("x"),
        Cancelled("x"),
    ],
)
def test_what_would_fail_again_is_raised_at_once(error: OutcropError) -> None:
    assert pauses(Attempts(RETRIES, True, None), error) == []


@pytest.mark.parametrize("error", [Unavailable("gone"), Overloaded("full", 0.0)])
def test_what_may_not_reach_the_server_twice_is_made_once(error: OutcropError) -> None:
    assert pauses(Attempts(RETRIES, False, None), error) == []


def test_nobody_waits_beyond_the_deadline() -> None:
    assert pauses(Attempts(RETRIES, True, 1.0), Overloaded("full", 1.0)) == []
    assert Attempts(RETRIES, True, 0.0).remaining() == 0.0
    assert Attempts(RETRIES, True, None).remaining() is None


def test_whoever_has_heard_of_the_server_counts_anew() -> None:
    attempts = Attempts(RETRIES, True, None)
    for _ in range(20):
        attempts.pause_after(Unavailable("gone"))
        attempts.succeeded()
