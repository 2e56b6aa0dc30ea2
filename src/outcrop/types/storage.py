"""Where memory went, and what was read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    """Where the budget went, in bytes. `owners` is sorted, largest first."""

    budget_bytes: int
    reserved_bytes: int
    peak_bytes: int
    owners: tuple[tuple[str, int], ...]

    @property
    def available_bytes(self) -> int:
        """What may still be reserved."""
        return self.budget_bytes - self.reserved_bytes


@dataclass(frozen=True, slots=True)
class ReaderStatistics:
    """Counters since the reader was opened, and what it holds now.

    kind, reason, notes: which reader is active, why, and what was asked for and refused. reads, read_bytes, errors: of
    the device. short_reads, resubmits: answers that had to be completed. buffer_*: of the arena.
    """

    kind: str
    reason: str
    notes: tuple[str, ...]
    reads: int
    read_bytes: int
    errors: int
    short_reads: int
    resubmits: int
    buffer_bytes: int
    buffer_in_use_bytes: int
    buffer_peak_bytes: int
    num_open_files: int
    table_bytes: int
