"""What a verification found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. block: its number in the file, None when the file as a whole is meant."""

    file: str
    block: int | None
    text: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification read and what is wrong.

    num_rows, num_entries: as the manifest gives them. reachability_checked: False when damaged blocks made walking the
    lists pointless.
    """

    name: str
    version: int | None
    num_rows: int
    num_entries: int
    num_files: int
    size_bytes: int
    reachability_checked: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """What a verification found. kind: graphs, features or plans. contents_checked: whether, beyond checksums, what the
    files say was looked at."""

    kind: str
    name: str
    version: int | None
    num_files: int
    size_bytes: int
    contents_checked: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class PlanProblems:
    """What is wrong with a plan: nothing, if `problems` is empty. The rest counts what was looked at.

    rows_compared: rows of logs that were compared with the table, of caches too: a row is checked where it enters.
    """

    problems: tuple[Problem, ...]
    num_minibatches: int
    rows_compared: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
