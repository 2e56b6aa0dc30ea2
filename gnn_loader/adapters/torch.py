"""PyTorch: minibatches of a loader as an `IterableDataset` of tensors.

    dataset = MinibatchDataset([plan.loader(shard=shard) for shard in range(2)])
    for minibatch in DataLoader(dataset, batch_size=None, num_workers=2):       # TensorMinibatch, one epoch
        ...

A loader prefetches by itself, in threads of its own: `num_workers=0` is fast and copies nothing, while workers copy
each minibatch into shared memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.distributed
import torch.utils.data

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorMinibatch, tensor_minibatch
from outcrop.types import Minibatch


class Loader(Protocol):
    """What is needed of a loader: planned, online and fresh ones have it. It can be pickled until it is iterated, and
    one iteration is one epoch, or what is left of it."""

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        ...

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield an epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, with "position"."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class MinibatchDataset(torch.utils.data.IterableDataset[TensorMinibatch]):
    """One pass is one epoch; the next pass is the next epoch, with workers that stay and with ones that do not.

    Each worker of each rank takes a loader of its own: the loaders of the shards of one plan, say.
    """

    def __init__(
        self, loaders: Loader | Sequence[Loader], *, rank: int | None = None, world_size: int | None = None
    ) -> None:
        """loaders: one for each worker of each rank, the workers of rank 0 first; not iterated yet, where there are
        workers. rank, world_size: by default those of torch.distributed where it is initialised."""
        super().__init__()
        self._loaders: list[Loader] = list(loaders) if isinstance(loaders, Sequence) else [loaders]
        self._rank, self._world_size = _place(rank, world_size)
        if len(self._loaders) % self._world_size:
            raise InvalidArgument(
                f"loaders: expected as many for each of {self._world_size} ranks, found {len(self._loaders)}"
            )
        # Where each loader's last whole epoch ended. Shared, since the workers of the next epoch may be new processes.
        positions = torch.tensor([loader.position for loader in self._loaders])
        self._positions: torch.Tensor = positions.share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[TensorMinibatch]:
        """Yield the epoch, or what is left of it."""
        number = self._number()
        loader = self._loaders[number]
        if loader.position < int(self._positions[number]):
            loader.load_state_dict(loader.state_dict() | {"position": int(self._positions[number])})
        for minibatch in loader:
            tensors = tensor_minibatch(minibatch)
            del minibatch
            yield tensors
            del tensors  # with it goes the last hold on the loader's buffer
        self._positions[number] = loader.position

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader of this process stands; a worker's own where a loader asks its workers."""
        return self._loaders[self._number()].state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, in the middle of an epoch too."""
        number = self._number()
        self._loaders[number].load_state_dict(state)
        self._positions[number] = 0  # the loader is right, wherever the epochs before it ended

    def _number(self) -> int:
        """Which loader is this process's."""
        worker = torch.utils.data.get_worker_info()
        num_workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        expected = num_workers * self._world_size
        if len(self._loaders) != expected:
            raise InvalidArgument(
                f"loaders: expected one for each of {num_workers} workers of {self._world_size} ranks, found "
                f"{len(self._loaders)}: make a plan with num_shards={expected} and pass the loader of each shard"
            )
        return self._rank * num_workers + worker_id


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise InvalidArgument(f"rank, world_size: expected 0 <= rank < world_size, found {rank} and {world_size}")
    return rank, world_size
