"""Tables of feature rows: a source to import one from, and what fetching from one took."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from outcrop.types.arrays import AnyArray


class RowSource(Protocol):
    """Rows of a feature table, of any dtype and shape. `import_features` reads them once, in order.

    A dtype that NumPy lacks comes as one it has: bfloat16 as uint16, and then the source has an attribute
    `logical_dtype` that says "bfloat16".
    """

    @property
    def num_rows(self) -> int:
        """How many rows there are: one for each node of a type."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row; () when a row is one number."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the arrays that `read` returns."""
        ...

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop), an array [stop - start, *row_shape] of `dtype`."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """What was fetched since the table was opened: rows given out, reads of the device and their bytes."""

    rows: int
    reads: int
    read_bytes: int
