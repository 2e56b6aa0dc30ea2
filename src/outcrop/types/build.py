"""What a build is asked."""

import os
from dataclasses import dataclass, field

import numpy.typing as npt

from outcrop.errors import InvalidArgument, ResourceExhausted
from outcrop.types.byte_sizes import format_bytes

COPY_RULES = ("nearest", "soar", "rng")

_LEAST_MEMORY = 32 << 20


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """memory_bytes: for the build's own arrays; the interpreter and its libraries take about 130 MB more.
    search_memory_bytes: what search will be given; None: 8 MiB or 5 % of the raw vectors, whichever is more.
    code: auto, raw or sq8. num_centroids, copies, copy_rule: None lets the build choose.
    calibration_queries: [n, dim] queries like those to come; None: vectors of the set are held out.
    """

    memory_bytes: int = 1 << 30
    search_memory_bytes: int | None = None
    num_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    code: str = "auto"
    num_centroids: int | None = None
    copies: int | None = None
    copy_rule: str | None = None
    max_list_bytes: int = 128 << 10
    seed: int = 0
    calibration_queries: npt.ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.memory_bytes < _LEAST_MEMORY:
            raise ResourceExhausted(
                f"memory: a build needs at least {format_bytes(_LEAST_MEMORY)}, found {format_bytes(self.memory_bytes)}"
            )
        if self.copy_rule is not None and self.copy_rule not in COPY_RULES:
            raise InvalidArgument(f"copy_rule: expected {', '.join(COPY_RULES)}, found {self.copy_rule!r}")
        for name in ("num_threads", "num_centroids", "copies"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InvalidArgument(f"{name}: expected a number of at least 1, found {value!r}")
        if self.copies is not None and self.copies > 16:
            raise InvalidArgument(f"copies: expected at most 16, found {self.copies}")
