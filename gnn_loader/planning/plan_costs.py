"""What the stages of a plan have cost so far, kept over kills and resumptions."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from outcrop.store import write_atomically
from outcrop.types import PlanCost


class StageCosts:
    """Sums in a note on disk. Work that a kill has undone is counted each time that it was done."""

    def __init__(self, path: Path) -> None:
        """Take up the note at `path`, if there is one."""
        self._path = path
        self._sums: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextlib.contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Add the time that the body takes to a stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(**{stage: time.monotonic() - began})

    def add(self, **amounts: float) -> None:
        """Add to sums by name, and note them."""
        for name, amount in amounts.items():
            self._sums[name] = self._sums.get(name, 0) + amount
        write_atomically(self._path, json.dumps(self._sums).encode())

    def plan_cost(self, temporary_bytes: int) -> PlanCost:
        """Return the sums."""
        sums = self._sums
        return PlanCost(
            sample_seconds=round(sums.get("sample", 0.0), 3),
            schedule_seconds=round(sums.get("schedule", 0.0), 3),
            pack_seconds=round(sums.get("pack", 0.0), 3),
            read_bytes=int(sums.get("read_bytes", 0)),
            written_bytes=int(sums.get("written_bytes", 0)),
            temporary_bytes=temporary_bytes,
        )
