"""Where the epochs of a loader begin and end."""

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlannedSequence:
    """A shard of a plan, over and over. epochs: where they begin, and where the last one ends. passes: None for no
    end."""

    epochs: tuple[int, ...]
    passes: int | None

    @property
    def count(self) -> int | None:
        """Minibatches altogether; None for no end."""
        return None if self.passes is None else self.passes * (self.epochs[-1] - self.epochs[0])

    def num_minibatches(self, position: int) -> int:
        """Of the epoch at a position."""
        epoch = self._epoch(position)
        return self.epochs[epoch + 1] - self.epochs[epoch]

    def left_in_epoch(self, position: int) -> int:
        """Minibatches of the epoch at a position that are still to come; none behind the last pass."""
        if self.count is not None and position >= self.count:
            return 0
        return self.epochs[self._epoch(position) + 1] - self._record(position)

    def _record(self, position: int) -> int:
        return self.epochs[0] + position % (self.epochs[-1] - self.epochs[0])

    def _epoch(self, position: int) -> int:
        return bisect_right(self.epochs, self._record(position)) - 1


@dataclass(frozen=True, slots=True)
class EvenSequence:
    """Epochs of `per_epoch` minibatches each. num_epochs: None for no end."""

    per_epoch: int
    num_epochs: int | None = None

    @property
    def count(self) -> int | None:
        """Minibatches altogether; None for no end."""
        if not self.per_epoch:
            return 0
        return None if self.num_epochs is None else self.num_epochs * self.per_epoch

    def num_minibatches(self, position: int) -> int:
        """Of the epoch at a position."""
        return self.per_epoch

    def left_in_epoch(self, position: int) -> int:
        """Minibatches of the epoch at a position that are still to come; none behind the last epoch."""
        if self.count is not None and position >= self.count:
            return 0
        return self.per_epoch - position % self.per_epoch


Sequence = PlannedSequence | EvenSequence


def batches_per_epoch(num_seeds: int, batch_size: int, drop_last: bool) -> int:
    """Return how many minibatches seeds make."""
    whole, rest = divmod(num_seeds, batch_size)
    return whole + (rest > 0 and not drop_last)
