"""How calls fail: the same class with the same words, wherever they are made."""

from collections.abc import Callable
from typing import Any

import pytest

from outcrop.errors import OutcropError


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """Return class and text of what a call raises; a job that it begins is waited for."""
    with pytest.raises(OutcropError) as raised:  # noqa: PT012  a job raises when it is waited for
        found = call()
        if hasattr(found, "wait"):
            found.wait()
        elif hasattr(found, "__next__"):
            next(found)
    return type(raised.value).code, str(raised.value)
