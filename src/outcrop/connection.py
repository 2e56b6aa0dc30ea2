"""An open root, and what was said when it was opened."""

import contextlib
from dataclasses import dataclass
from typing import Protocol

from outcrop.ann import MemoryNeeds
from outcrop.errors import Unavailable
from outcrop.stop import Stop
from outcrop.store import Root


class OpenCollection(Protocol):
    """What a shared budget sees of a collection."""

    name: str

    @property
    def last_used(self) -> float | None:
        """When its last call ended, by time.monotonic; None while nothing is open, or it is in use."""

    @property
    def is_open(self) -> bool:
        """Whether a version is open that new calls would use."""

    def close_if_idle(self) -> bool:
        """Close what is open unless it is in use; return whether it was closed."""

    def retire(self) -> None:
        """Let calls under way end with what is open, which is closed then; the next call opens it anew."""


class MemoryShare(Protocol):
    """A part of a shared budget. is_retiring: told by who holds it: it is given back when calls under way have
    ended."""

    size_bytes: int
    is_retiring: bool

    def close(self) -> None:
        """Give it back."""


class SharedMemory(Protocol):
    """One budget for all collections."""

    def take(self, collection: OpenCollection, needs: MemoryNeeds, stop: Stop | None) -> MemoryShare:
        """Return a share between least and most of what is needed. Others are closed for it when nobody uses them.
        Raises ResourceExhausted, DeadlineExceeded, Cancelled."""


@dataclass(slots=True)
class Connection:
    """What everything that a `Database` opens has in common.

    memory_bytes: the budget of each collection, graph or table that is opened. reader: see `StorageReader`.
    cache_lists: False keeps no posting lists in memory: what every search costs when none of its lists was asked
    before. shared_memory: where collections get their memory instead, in a server.
    """

    root: Root
    memory_bytes: int
    reader: str
    threads: int
    cache_lists: bool = True
    shared_memory: SharedMemory | None = None

    def forget_jobs(self, object_id: str) -> None:
        """Remove what cancelled work with other arguments has left: the version just made stands for theirs."""
        for job in self.root.list_jobs():
            if job.object_id == object_id:
                with contextlib.suppress(Unavailable), self.root.begin_version(object_id, job.id) as writer:
                    writer.abort()
