"""What is loaded, and what loads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    Minibatch = tuple[torch.Tensor, torch.Tensor]
else:
    Minibatch = tuple


@dataclass(frozen=True, slots=True)
class Workload:
    """A graph and how it is sampled.

    folder: indptr, indices, features and train_idx as .npy. root: the same, imported, and the plan that `plan` names.
    scratch: for files that a system makes. cache_rows: rows that may stay in memory between minibatches.
    """

    folder: Path
    root: Path
    scratch: Path
    plan: str
    fanouts: tuple[int, ...]
    batch_size: int
    cache_rows: int


class System(ABC):
    """Something that loads minibatches; one object per process."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload

    def prepare(self) -> None:  # noqa: B027  (most have nothing to prepare)
        """Do what is done before training, such as sampling and packing."""

    def open_graph(self) -> None:  # noqa: B027
        """Take into memory what is no row."""

    @abstractmethod
    def open_rows(self) -> None:
        """Take rows into memory, as many as `cache_rows` at most."""

    @abstractmethod
    def epoch(self, number: int) -> Iterator[Minibatch]:
        """Yield (input nodes, their features) of each minibatch."""

    def read_bytes(self) -> int | None:
        """Return bytes read from the device since the start, where the system itself counts them."""
        return None

    def close(self) -> None:  # noqa: B027
        """Give everything back."""
