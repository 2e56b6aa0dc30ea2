"""Which block readers can be had here."""

import pytest

from outcrop import native
from outcrop.errors import StorageFailure


def skip_without(kind: str) -> None:
    """Skip the test where this build, kernel or container has no reader of this kind."""
    try:
        native.BlockReader(kind)
    except StorageFailure as error:
        pytest.skip(str(error))
