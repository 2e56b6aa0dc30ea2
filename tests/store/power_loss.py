"""A disk that forgets, at the moment the power goes, what was not synced.

It listens to the store's own steps (os_calls): bytes written and not synced are cut off at a random length, and of the
names that were made, moved or removed without a sync of their folder only a random prefix survives, as with a journal.
"""

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path


class PowerLoss(BaseException):
    """Not an Exception: nothing may handle it. Every later step of the dead process raises it too."""


@dataclass
class Name:
    """A name that was made, moved or removed, and that is not settled before its folder is synced."""

    path: Path
    moved_from: Path | None = None
    removed: Path | None = None  # a copy of what had this name before

    def undo(self) -> None:
        if self.moved_from is not None and self.path.exists():
            self.path.rename(self.moved_from)
        elif self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        if self.removed is not None:
            self.removed.rename(self.path)


@dataclass
class Disk:
    """Pass it to os_calls.intercepted. The power goes before step number `cut_at`; None counts the steps only."""

    cut_at: int | None
    keep: Path  # a folder outside the root, for what an undone removal brings back
    steps: list[str] = field(default_factory=list)
    _dirty: set[Path] = field(default_factory=set)
    _pending: list[Name] = field(default_factory=list)

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
        for name in reversed(self._pending[survivors:]):
            name.undo()

    def _create(self, path: Path, source: Path | None) -> None:
        self._dirty.add(path)
        if not path.exists():
            self._pending.append(Name(path))

    def _write(self, path: Path, source: Path | None) -> None:
        self._dirty.add(path)

    def _fsync(self, path: Path, source: Path | None) -> None:
        self._dirty.discard(path)

    def _fsync_folder(self, path: Path, source: Path | None) -> None:
        self._pending = [name for name in self._pending if name.path.parent != path]

    def _mkdir(self, path: Path, source: Path | None) -> None:
        for folder in reversed([path, *path.parents]):
            if not folder.exists():
                self._pending.append(Name(folder))

    def _rename(self, path: Path, source: Path | None) -> None:
        assert source is not None
        # Names within a folder that moves are undone after the move is, if it is, and where they are, if it is not.
        inside = [name for name in self._pending if source in name.path.parents]
        self._pending = [name for name in self._pending if name not in inside]
        self._pending.append(Name(path, source, self._keep(path) if path.exists() else None))
        for name in inside:
            name.path = path / name.path.relative_to(source)
            self._pending.append(name)
        self._dirty = {self._moved(dirty, source, path) for dirty in self._dirty}

    def _remove(self, path: Path, source: Path | None) -> None:
        if path.exists():
            self._pending.append(Name(path, removed=self._keep(path)))
        self._dirty = {dirty for dirty in self._dirty if dirty != path and path not in dirty.parents}

    _remove_tree = _remove

    def _keep(self, path: Path) -> Path:
        kept = self.keep / str(len(self.steps))
        (shutil.copytree if path.is_dir() else shutil.copy)(path, kept)
        return kept

    @staticmethod
    def _moved(path: Path, source: Path, target: Path) -> Path:
        return target / path.relative_to(source) if path == source or source in path.parents else path
