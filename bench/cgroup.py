"""A memory limit that counts the page cache too, so that data larger than the limit really comes from the device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Group:
    """A control group below the kernel's memory controller. It begins without a limit."""

    folder: Path

    @property
    def _first_version(self) -> bool:
        return self.folder.parent == _V1

    def enter(self) -> None:
        """Move the calling process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, limit_bytes: int) -> None:
        """Let the group use at most so much, page cache included."""
        name = "memory.limit_in_bytes" if self._first_version else "memory.max"
        (self.folder / name).write_text(str(limit_bytes))

    def used_bytes(self) -> int:
        """Return what the group uses now, page cache included."""
        name = "memory.usage_in_bytes" if self._first_version else "memory.current"
        return int((self.folder / name).read_text())

    def peak_bytes(self) -> int | None:
        """Return the most that it has used; None where the kernel does not tell."""
        file = self.folder / ("memory.max_usage_in_bytes" if self._first_version else "memory.peak")
        return int(file.read_text()) if file.exists() else None


@contextlib.contextmanager
def new_group() -> Iterator[Group]:
    """A new group, removed at the end. Needs root and a memory controller: PermissionError, OSError."""
    group = Group((_V1 if _V1.is_dir() else _V2) / f"outcrop-bench-{os.getpid()}")
    group.folder.mkdir()
    try:
        with contextlib.suppress(OSError):  # where the kernel has no swap controller
            (group.folder / "memory.swap.max").write_text("0")
        yield group
    finally:
        group.folder.rmdir()


def drop_page_cache() -> None:
    """Forget cached pages of files; those of another group's would be served without counting. Needs root."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
