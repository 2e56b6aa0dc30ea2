import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import outcrop
from outcrop.embedded import Database


@pytest.fixture
def seed() -> int:
    """A new seed each run, printed when the test fails."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root", memory="64MiB") as database:
        yield database


@pytest.fixture
def no_wait_for_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced: for tests that write many small files and lose no power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
