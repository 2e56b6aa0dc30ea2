"""Does a plan fit on the disk? Asked before the bytes are written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from outcrop.errors import ResourceExhausted
from outcrop.gnn_loader.planning.pack import Misses
from outcrop.gnn_loader.planning.recipes import Scheduled
from outcrop.store import format_bytes
from outcrop.store.format.block_file import file_size_bytes

_SHORTEST_TRACE = 0.05  # the part of a trace from which its size is told
# The trace, the records with their recipes, and next uses; minibatches differ a little.
_COPIES_OF_TRACE = 2.2


class DiskBudget:
    """A limit stated by the caller, and what the device has free."""

    def __init__(self, limit_bytes: int | None, folder: Path) -> None:
        """limit_bytes: for the plan and what making it needs; None: what is free. folder: where it will lie."""
        self._limit_bytes, self._folder = limit_bytes, folder
        self._free_at_begin = shutil.disk_usage(folder).free

    def check_trace(self, fraction: float, num_bytes: int) -> None:
        """num_bytes: of the part of the trace that is sampled. Raises ResourceExhausted when all of it will not fit."""
        if fraction >= _SHORTEST_TRACE:
            needed = int(_COPIES_OF_TRACE * num_bytes / fraction)
            self._refuse_beyond(needed, self._free_at_begin, "for minibatches alone")

    def check_logs(self, scheduled: Scheduled, misses: Sequence[Misses], temporary_bytes: int) -> None:
        """Raise ResourceExhausted when minibatches, logs and the runs of the largest one do not fit."""
        logs = sum(file_size_bytes(m.log_bytes) for m in misses)
        minibatches = sum(entry.size_bytes for entry in scheduled.files)
        there = [*self._folder.glob("log-*.blk"), *self._folder.parent.glob("scratch/pack-*/*")]
        held = sum(path.stat().st_size for path in there)
        free = shutil.disk_usage(self._folder).free + minibatches + held
        parts = (
            f"{format_bytes(minibatches)} for minibatches, {format_bytes(logs)} for logs, "
            f"{format_bytes(temporary_bytes)} while packing"
        )
        self._refuse_beyond(minibatches + logs + temporary_bytes, free, parts)

    def _refuse_beyond(self, needed: int, free: int, parts: str) -> None:
        limit = self._limit_bytes
        if needed > free or (limit is not None and needed > limit):
            allowed = "no limit was given" if limit is None else f"the limit is {format_bytes(limit)}"
            raise ResourceExhausted(
                f"plan: needs {format_bytes(needed)} of disk ({parts}); {allowed}, {format_bytes(free)} are free; plan "
                "fewer epochs, give the cache more memory, or allow more disk"
            )
