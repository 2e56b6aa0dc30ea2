"""A feature table that goes to the workers of a DataLoader: each process opens files and rings of its own."""

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from outcrop.gnn_loader.codecs import RowCodec
from outcrop.gnn_loader.features import FeatureTable
from outcrop.store import Accountant, Root, parse_bytes
from outcrop.types import AnyArray

# What a forked child inherited and must neither use nor close: readers' threads and rings belong to its parent.
_abandoned: list[Any] = []


@dataclass(frozen=True, slots=True)
class _Opened:
    process: int
    table: FeatureTable
    resources: contextlib.ExitStack


class StoredTable:
    """The version of a table that was current when this was made, for any number of processes and threads.

    Pickled or forked it stays the same table. A context manager; after `close` the next fetch opens it again.
    """

    def __init__(
        self, root: str | os.PathLike[str], name: str, *, memory: str | int = "64MiB", reader: str = "auto"
    ) -> None:
        """memory: of each process, for checksums and read buffers. Raises NotFound, and as `FeatureTable.open` does."""
        self._root, self._name, self._reader = Path(root).resolve(), name, reader
        self._memory_bytes = parse_bytes(memory)
        self._version: int | None = None
        self._opened: _Opened | None = None
        self._lock = threading.Lock()
        table = self._table()
        self._version = table.manifest.version
        self._codec: RowCodec = table.codec
        self._num_rows = table.num_rows

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return self._num_rows

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._codec.row_shape

    @property
    def logical_dtype(self) -> str:
        """What the rows mean: "bfloat16" where they come as uint16."""
        return self._codec.logical_dtype

    def fetch(self, ids: Any) -> AnyArray:
        """Return the rows of `ids`; see `FeatureTable.fetch`."""
        return self._table().fetch(ids)

    def close(self) -> None:
        """Give this process's files and memory back. No fetch may be under way."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is None:
            return
        if opened.process == os.getpid():
            opened.resources.close()
        else:
            _abandoned.append(opened)

    def __enter__(self) -> "StoredTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _table(self) -> FeatureTable:
        opened = self._opened
        if opened is not None and opened.process == os.getpid():
            return opened.table
        with self._lock:
            if self._opened is None or self._opened.process != os.getpid():
                if self._opened is not None:
                    _abandoned.append(self._opened)
                self._opened = self._open()
            return self._opened.table

    def _open(self) -> _Opened:
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(Root.open(self._root, read_only=True, create=False))
            lease = root.open_version(root.get("features", self._name).id, self._version)
            table = FeatureTable.open(lease, Accountant(self._memory_bytes), self._reader)
            stack.enter_context(table)
            return _Opened(os.getpid(), table, stack.pop_all())
