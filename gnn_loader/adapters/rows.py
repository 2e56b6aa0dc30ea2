"""Rows of a table as tensors, whichever kind of table it is."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import shared_tensor
from outcrop.types import AnyArray


class RowTable(Protocol):
    """What the adapters need of a table: `FeatureTable` has it, and so has `MemoryRows`."""

    @property
    def num_rows(self) -> int:
        """How many rows."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        ...

    @property
    def logical_dtype(self) -> str:
        """What the rows mean: "bfloat16" where they come as uint16."""
        ...

    def fetch(self, ids: Any) -> AnyArray:
        """Return the rows of `ids`, [n, *row_shape]."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryRows:
    """A tensor on the processor as a table: for labels and other small columns."""

    tensor: torch.Tensor

    @property
    def num_rows(self) -> int:
        """The first dimension."""
        return self.tensor.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The other dimensions."""
        return tuple(self.tensor.shape[1:])

    @property
    def logical_dtype(self) -> str:
        """The name of the tensor's type."""
        return str(self.tensor.dtype).removeprefix("torch.")

    def fetch(self, ids: Any) -> AnyArray:
        """Return a copy of the rows of `ids`."""
        index = np.asarray(ids)
        if index.size and (index.min() < 0 or index.max() >= self.num_rows):
            raise InvalidArgument(f"ids: expected 0 to {self.num_rows - 1}, found {index.min()} to {index.max()}")
        rows = self.tensor[torch.from_numpy(index.astype(np.int64))]
        return rows.view(torch.int16).numpy() if rows.dtype == torch.bfloat16 else rows.numpy()


def as_table(rows: "RowTable | torch.Tensor | AnyArray") -> RowTable:
    """Return `rows` if it is a table, else a tensor or array as one."""
    if isinstance(rows, np.ndarray):
        return MemoryRows(shared_tensor(rows))
    return MemoryRows(rows) if isinstance(rows, torch.Tensor) else rows


def fetch_tensor(table: RowTable, ids: Any) -> torch.Tensor:
    """Return the rows of `ids` (a tensor on any device, or an array of integers) as a tensor of the table's type."""
    index = ids.cpu().numpy() if isinstance(ids, torch.Tensor) else np.asarray(ids)
    rows = shared_tensor(table.fetch(index))
    return rows.view(torch.bfloat16) if table.logical_dtype == "bfloat16" else rows
