"""All vectors of a version, given out batch by batch in the order in which they are stored."""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from outcrop.ann.index import Index
from outcrop.ann.stored_rows import stored_batches
from outcrop.ann.strings import read_strings
from outcrop.errors import InvalidArgument
from outcrop.stop import Stop
from outcrop.types import AnyArray


class Scan:
    """An iterator over (ids, vectors), and a context manager. `outcrop.Collection.scan` returns one and tells what it
    gives out. It holds its version until its end, an error, or `close`.

    version, num_rows: what is scanned. row: of the first vector of the next batch.
    """

    def __init__(
        self,
        index: Index,
        version: int,
        batch_rows: int,
        start_row: int,
        stop: Stop | None,
        resources: contextlib.ExitStack,
    ) -> None:
        """resources: taken over, and closed with the scan; the index lives as long. Raises InvalidArgument."""
        _check_rows("batch_rows", batch_rows, 1, None)
        _check_rows("start_row", start_row, 0, index.num_rows)
        self.version, self.num_rows, self.row = version, index.num_rows, int(start_row)
        self._index, self._stop = index, stop
        self._batches = stored_batches(index, int(batch_rows), self.row, stop)
        self._resources = resources.pop_all()

    def __iter__(self) -> Iterator[tuple[AnyArray, AnyArray]]:
        """Return the scan itself."""
        return self

    def __next__(self) -> tuple[AnyArray, AnyArray]:
        """Return the next (ids, vectors)."""
        try:
            ids, vectors = next(self._batches)
            named: AnyArray = ids
            if self._index.spec.id_type == "string":
                named = read_strings(self._index.file("strings.blk"), self._index.num_rows, ids, self._stop)
        except BaseException:  # StopIteration is one of them
            self.close()
            raise
        self.row += len(ids)
        return named, vectors

    def close(self) -> None:
        """Give the version back; what is asked for later is nothing. Closing twice is allowed."""
        self._batches = iter(())
        self._resources.close()

    def __enter__(self) -> "Scan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_resources"):  # else it was refused
            self.close()


def _check_rows(name: str, value: Any, least: int, most: int | None) -> None:
    good = not isinstance(value, bool) and isinstance(value, int | np.integer) and value >= least
    if not good or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}, the number of stored vectors"
        raise InvalidArgument(f"{name}: expected {expected}, found {value!r}")
