"""What stages of work take: seconds, bytes moved by the process, memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

Record = dict[str, Any]

_POLL_SECONDS = 0.05
_COUNTERS = {
    "asked_to_read": "rchar",
    "asked_to_write": "wchar",
    "device_read": "read_bytes",
    "device_write": "write_bytes",
}


class Meter:
    """Attributes what the process does to named stages. A context manager; `enter` begins the next stage.

    Memory is looked at every 50 ms: all resident pages, and those that no file backs, which alone cannot be given back.
    """

    def __init__(self) -> None:
        self.stages: dict[str, Record] = {}
        self.peak_bytes = self.peak_anonymous_bytes = 0
        self._stage = "start"
        self._at = time.perf_counter()
        self._counters = _io()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def enter(self, stage: str) -> None:
        """Close what ran until now as part of `stage`: reports come when a piece of work is done."""
        now, counters = time.perf_counter(), _io()
        record = self.stages.setdefault(stage, {"seconds": 0.0, "peak_bytes": 0, **dict.fromkeys(_COUNTERS, 0)})
        record["seconds"] += now - self._at
        for name in _COUNTERS:
            record[name] += counters[name] - self._counters[name]
        self._at, self._counters, self._stage = now, counters, stage

    def total(self) -> Record:
        """Return the sums over all stages."""
        names = ["seconds", *_COUNTERS]
        return {name: sum(record[name] for record in self.stages.values()) for name in names}

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            resident, anonymous = memory()
            self.peak_bytes = max(self.peak_bytes, resident)
            self.peak_anonymous_bytes = max(self.peak_anonymous_bytes, anonymous)
            if (record := self.stages.get(self._stage)) is not None:
                record["peak_bytes"] = max(record["peak_bytes"], resident)

    def __enter__(self) -> Meter:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._watcher.join()


def memory() -> tuple[int, int]:
    """Return (resident bytes, those of them that no file backs) of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(fields[name].split()[0]) << 10 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


def _io() -> dict[str, int]:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return {name: int(fields[field]) for name, field in _COUNTERS.items()}
