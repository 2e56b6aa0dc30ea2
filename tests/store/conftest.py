import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcrop.store import BlockWriter, FileEntry, Root


def write_block_file(path: Path, payload: bytes, kind: str = "vectors") -> FileEntry:
    with BlockWriter(path, kind) as writer:
        writer.append(payload)
        return writer.finish()


@pytest.fixture
def write_file():
    return write_block_file


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with Root.open(tmp_path / "root") as root:
        yield root


@pytest.fixture
def no_wait_for_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is announced to interceptors and not done: for tests that simulate the loss themselves, many times."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A new seed each run, printed when the test fails."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed
