"""All vectors of a version, as they come from a server."""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType

import numpy as np

from outcrop.client.rpcs.vectors import Export, Ids
from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray

Batch = tuple[Ids, AnyArray]


class Rebatched:
    """Messages of the server in, batches of one length out; of the last one fewer. One arrangement for both stacks."""

    def __init__(self, batch_rows: int) -> None:
        """Raises InvalidArgument."""
        if isinstance(batch_rows, bool) or not isinstance(batch_rows, int | np.integer) or batch_rows < 1:
            raise InvalidArgument(f"batch_rows: expected at least 1, found {batch_rows!r}")
        self._batch_rows = int(batch_rows)
        self._waiting: list[Batch] = []
        self._num_waiting = 0

    def put(self, batch: Batch) -> None:
        """Take what has come."""
        if len(batch[0]):
            self._waiting.append(batch)
            self._num_waiting += len(batch[0])

    def take(self, ended: bool = False) -> Batch | None:
        """Return a whole batch, or what is left when all has come; None when there is none yet."""
        if not self._num_waiting or (self._num_waiting < self._batch_rows and not ended):
            return None
        taken: list[Batch] = []
        wanted = self._batch_rows
        while wanted and self._waiting:
            ids, vectors = self._waiting.pop(0)
            if len(ids) > wanted:
                self._waiting.insert(0, (ids[wanted:], vectors[wanted:]))
                ids, vectors = ids[:wanted], vectors[:wanted]
            wanted -= len(ids)
            taken.append((ids, vectors))
        batch = np.concatenate([ids for ids, _ in taken]), np.concatenate([vectors for _, vectors in taken])
        self._num_waiting -= len(batch[0])
        return batch


class Scan:
    """An iterator over (ids, vectors), and a context manager, as `outcrop.ann.Scan`. One that breaks is taken up where
    it was, at the same version.

    version, num_rows: what is scanned. row: of the first vector of the next batch.
    """

    def __init__(self, export: Export, messages: Iterator[Batch], batches: Rebatched, start_row: int) -> None:
        """Wait for the first message, which tells what is scanned."""
        self._messages, self._batches = messages, batches
        batches.put(next(messages))
        assert export.version is not None
        assert export.num_rows is not None
        self.version, self.num_rows, self.row = export.version, export.num_rows, int(start_row)

    def __iter__(self) -> "Scan":
        """Return the scan itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next (ids, vectors)."""
        batch = self._batches.take()
        while batch is None:
            message = next(self._messages, None)
            if message is not None:
                self._batches.put(message)
            batch = self._batches.take(ended=message is None)
            if batch is None and message is None:
                raise StopIteration
        self.row += len(batch[0])
        return batch

    def close(self) -> None:
        """Tell the server that no more is wanted. Closing twice is allowed."""
        close = getattr(self._messages, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> "Scan":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncScan:
    """See `Scan`; an async context manager. The first batch begins it: before that, version and num_rows are None."""

    def __init__(self, export: Export, messages: AsyncIterator[Batch], batches: Rebatched, start_row: int) -> None:
        """Use `AsyncCollection.scan`."""
        self._export, self._messages, self._batches = export, messages, batches
        self.row = int(start_row)

    @property
    def version(self) -> int | None:
        """Of the collection."""
        return None if self._export.num_rows is None else self._export.version

    @property
    def num_rows(self) -> int | None:
        """Of that version."""
        return self._export.num_rows

    def __aiter__(self) -> "AsyncScan":
        """Return the scan itself."""
        return self

    async def __anext__(self) -> Batch:
        """Return the next (ids, vectors)."""
        batch = self._batches.take()
        while batch is None:
            message = await anext(self._messages, None)
            if message is not None:
                self._batches.put(message)
            batch = self._batches.take(ended=message is None)
            if batch is None and message is None:
                raise StopAsyncIteration
        self.row += len(batch[0])
        return batch

    async def close(self) -> None:
        """Tell the server that no more is wanted. Closing twice is allowed."""
        close = getattr(self._messages, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> "AsyncScan":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
