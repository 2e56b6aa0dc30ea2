"""A disk that forgets, at the moment the power goes, what was not synced.

It listens to the store's own steps (os_calls): bytes written and not synced are cut off at a random length, and of the
names that were made, moved or removed without a sync of their folder only a random prefix survives, as with a journal.
"""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class PowerLoss(BaseException):
    """Not an Exception: nothing may handle it. Every later step of the dead process raises it too."""


@dataclass
class Disk:
    """Pass it to os_calls.intercepted. The power goes before step number `cut_at`; None counts the steps only."""

    cut_at: int | None
    keep: Path  # a folder outside the root, for what an undone removal brings back

    def __post_init__(self) -> None:
        self.steps: list[str] = []
        self._dirty: set[Path] = set()
        self._pending: list[tuple[Path, Callable[[], None]]] = []  # folder whose sync settles it, how to undo it

    def __call__(self, step: str, path: Path, source: Path | None) -> None:
        if self.cut_at is not None and len(self.steps) >= self.cut_at:
            raise PowerLoss(f"before {step} {path}")
        self.steps.append(f"{step} {path.name}")
        getattr(self, f"_{step}", lambda path, source: None)(path, source)

    def lose(self, rng: random.Random) -> None:
        """What the disk holds after the power is back."""
        for path in self._dirty:
            if path.exists():
                data = path.read_bytes()
                path.write_bytes(data[: rng.randrange(len(data) + 1)])
        survivors = rng.randrange(len(self._pending) + 1)
        for _, undo in reversed(self._pending[survivors:]):
            undo()

    def _create(self, path: Path, source: Path | None) -> None:
        self._dirty.add(path)
        if not path.exists():
            self._pending.append((path.parent, lambda: path.unlink(missing_ok=True)))

    def _write(self, path: Path, source: Path | None) -> None:
        self._dirty.add(path)

    def _fsync(self, path: Path, source: Path | None) -> None:
        self._dirty.discard(path)

    def _fsync_folder(self, path: Path, source: Path | None) -> None:
        self._pending = [(folder, undo) for folder, undo in self._pending if folder != path]

    def _mkdir(self, path: Path, source: Path | None) -> None:
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                self._pending.append((folder.parent, lambda folder=folder: shutil.rmtree(folder, ignore_errors=True)))

    def _rename(self, path: Path, source: Path | None) -> None:
        assert source is not None
        replaced = self._keep(path) if path.exists() else None

        def undo() -> None:
            if path.exists():
                path.rename(source)
            if replaced is not None:
                replaced.rename(path)

        self._pending.append((path.parent, undo))
        self._dirty = {self._moved(dirty, source, path) for dirty in self._dirty}

    def _remove(self, path: Path, source: Path | None) -> None:
        if path.exists():
            kept = self._keep(path)
            self._pending.append((path.parent, lambda: kept.rename(path)))
        self._dirty.discard(path)

    def _remove_tree(self, path: Path, source: Path | None) -> None:
        self._remove(path, source)
        self._dirty = {dirty for dirty in self._dirty if path not in dirty.parents}

    def _keep(self, path: Path) -> Path:
        kept = self.keep / str(len(self.steps))
        (shutil.copytree if path.is_dir() else shutil.copy)(path, kept)
        return kept

    @staticmethod
    def _moved(path: Path, source: Path, target: Path) -> Path:
        return target / path.relative_to(source) if path == source or source in path.parents else path
