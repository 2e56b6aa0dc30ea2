"""The plainest loader: sample a minibatch, fetch its rows. No plan, no cache, nothing ahead of its use.

For validation, for graphs that fit in memory, and as what other loaders are compared with: minibatch b of epoch e is
the same from all of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import AnyArray, Minibatch


class Rows(Protocol):
    """A table whose rows can be fetched: `FeatureTable`, or an array in memory behind the same call."""

    def fetch(self, ids: Any) -> AnyArray:
        """Return the rows of `ids`, [n, *row_shape]."""
        ...


class FetchLoader:
    """Minibatches with the rows of their nodes. An iteration is one epoch, or what is left of it."""

    def __init__(
        self,
        sampler: NeighborSampler,
        batches: SeedBatches,
        tables: Mapping[str, Rows | AnyArray],
        *,
        node_types: Mapping[str, str] | None = None,
    ) -> None:
        """tables: by name, opened, or arrays. node_types: whose rows a table has; by default the type of that name, or
        the only one. Raises InvalidArgument."""
        self._sampler, self._batches, self._tables = sampler, batches, dict(tables)
        self._node_types = {name: _node_type(name, sampler, node_types or {}) for name in tables}
        self._position = 0

    @property
    def position(self) -> int:
        """Minibatches given out since the first epoch began."""
        return self._position

    def __len__(self) -> int:
        """Return the number of minibatches in an epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Minibatch]:
        """Yield what is left of the epoch under way."""
        if len(self) == 0:
            return
        epoch, batch = divmod(self._position, len(self))
        for minibatch in self._sampler.sample_many(self._batches, epoch=epoch, first_batch=batch):
            self._position += 1
            yield self._with_rows(minibatch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises InvalidArgument."""
        position = state.get("position")
        if not isinstance(position, int) or position < 0:
            raise InvalidArgument(f"state of a loader: expected a position of at least 0, found {state}")
        self._position = position

    def _with_rows(self, minibatch: Minibatch) -> Minibatch:
        return replace(minibatch, features={name: self._rows(name, minibatch) for name in self._tables})

    def _rows(self, name: str, minibatch: Minibatch) -> AnyArray:
        table, ids = self._tables[name], minibatch.nodes[self._node_types[name]]
        return table[ids] if isinstance(table, np.ndarray) else table.fetch(ids)


def _node_type(name: str, sampler: NeighborSampler, given: Mapping[str, str]) -> str:
    types = list(sampler.graph.node_types)
    found = given.get(name, name if name in types else types[0] if len(types) == 1 else None)
    if found not in types:
        raise InvalidArgument(f"table {name!r}: expected a node type among {types} in node_types, found {found!r}")
    return found
