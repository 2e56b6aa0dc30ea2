"""An open root, and what was said when it was opened."""

import contextlib
from dataclasses import dataclass

from outcrop.errors import Unavailable
from outcrop.store import Root


@dataclass(slots=True)
class Connection:
    """What everything that a `Database` opens has in common.

    memory_bytes: the budget of each collection, graph or table that is opened. reader: see `StorageReader`.
    cache_lists: False keeps no posting lists in memory: what every search costs when none of its lists was asked
    before.
    """

    root: Root
    memory_bytes: int
    reader: str
    threads: int
    cache_lists: bool = True

    def forget_jobs(self, object_id: str) -> None:
        """Remove what cancelled work with other arguments has left: the version just made stands for theirs."""
        for job in self.root.list_jobs():
            if job.object_id == object_id:
                with contextlib.suppress(Unavailable), self.root.begin_version(object_id, job.id) as writer:
                    writer.abort()
