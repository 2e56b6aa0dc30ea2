"""The order in which an epoch takes its seeds."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.types import Seeds, UInt32Array


@dataclass(frozen=True, slots=True)
class SeedBatches:
    """Seeds divided into minibatches, in an order of its own for each epoch that depends on (seed, epoch) alone.

    shuffle: False takes them as given in every epoch. drop_last: leave out the last minibatch where it is smaller.
    """

    seeds: Seeds
    batch_size: int = 1024
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidArgument(f"batch_size: expected at least 1, found {self.batch_size}")
        if not 0 <= self.seed < 2**64:
            raise InvalidArgument(f"seed: expected one of [0, 2^64), found {self.seed}")
        if len(self.seeds) >= 2**32:
            raise InvalidArgument(f"seeds: expected fewer than 2^32, found {len(self.seeds)}")

    def __len__(self) -> int:
        """How many minibatches an epoch has."""
        whole, rest = divmod(len(self.seeds), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> UInt32Array:
        """Return the positions of all seeds in the order of one epoch: uint32 [n]."""
        if not 0 <= epoch < 2**64:
            raise InvalidArgument(f"epoch: expected one of [0, 2^64), found {epoch}")
        if self.shuffle:
            return native.seed_order(len(self.seeds), self.seed, epoch)
        return np.arange(len(self.seeds), dtype=np.uint32)

    def epoch(self, epoch: int) -> Iterator[UInt32Array]:
        """Yield the positions of the seeds of each minibatch of one epoch."""
        order = self.order(epoch)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]
