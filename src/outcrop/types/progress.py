"""How far long work has come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come. fraction: of all of it, 0 to 1. seconds_left: an estimate, None before there is
    one."""

    stage: str
    fraction: float
    seconds_left: float | None
