"""What the tests of the core share."""

from __future__ import annotations

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import InvalidArgument

ALL_ISAS = ["scalar", "avx2", "avx512"]


def is_available(isa: str) -> bool:
    try:
        native.distances(np.zeros(1, np.float32), np.zeros((0, 1), np.float32), "l2", isa)
    except InvalidArgument:
        return False
    return True


@pytest.fixture(params=ALL_ISAS, scope="session")
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set that the kernels have a variant for; those that this CPU lacks are skipped."""
    name: str = request.param
    if not is_available(name):
        pytest.skip(f"this CPU lacks {name}")
    return name


@pytest.fixture(scope="session")
def available_isas() -> list[str]:
    return [name for name in ALL_ISAS if is_available(name)]
