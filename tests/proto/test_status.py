"""The class that the server raised is the class that the client raises."""

import grpc
import pytest

from outcrop import errors
from outcrop.errors import OutcropError
from outcrop.proto.status import Overloaded, status_code, text_of, to_error, trailing_metadata


def _all_classes() -> list[type[OutcropError]]:
    found, waiting = [], [OutcropError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return found


@pytest.mark.parametrize("kind", _all_classes())
def test_class_and_text_survive_the_wire(kind: type[OutcropError]) -> None:
    error = kind("dim: expected 4, found 3")

    back = to_error(status_code(error), text_of(error), trailing_metadata(error, "r1"))

    assert type(back) is kind
    assert str(back) == str(error)


def test_the_errno_of_the_device_survives() -> None:
    error = errors.StorageFailure(28, "no space left on device")

    back = to_error(status_code(error), text_of(error), trailing_metadata(error, "r1"))

    assert isinstance(back, errors.StorageFailure)
    assert back.errno == 28
    assert str(back) == str(error)


def test_an_overloaded_server_says_when_to_try_again() -> None:
    error = Overloaded("256 calls wait", retry_seconds=0.25)

    back = to_error(status_code(error), text_of(error), trailing_metadata(error, "r1"))

    assert status_code(error) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(back, errors.Unavailable)
    assert isinstance(back, Overloaded)
    assert back.retry_seconds == pytest.approx(0.25)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_a_status_of_somebody_else_is_an_error_too(code: grpc.StatusCode) -> None:
    assert isinstance(to_error(code, "from a proxy", None), OutcropError)


def test_a_text_without_end_is_cut() -> None:
    assert len(text_of(errors.InvalidArgument("x" * 10_000))) == 2048
