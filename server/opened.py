"""Graphs and feature tables that stay open between calls, within one budget.

    with opened.table("papers.x") as table:     # any number of calls at once
        table.fetch(ids)

What nobody uses is closed when its memory is wanted, when another version has taken its place, and after a while.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from outcrop.errors import NotFound, ResourceExhausted
from outcrop.gnn_loader import FeatureTable, Graph
from outcrop.server.memory_pool import MemoryPool
from outcrop.store import ObjectRecord, Reservation, Root, VersionLease
from outcrop.types import FeatureStatistics

IDLE_SECONDS = 60.0

Value = TypeVar("Value")
_Key = tuple[str, int]  # id of the object, version


@dataclass(slots=True)
class _Entry:
    """Something open. users: calls that work with it. opening: its value, or the error of opening it."""

    record: ObjectRecord
    opening: "Future[Any]" = field(default_factory=Future)
    users: int = 0
    last_used: float = 0.0


class OpenedObjects:
    """See the module. For any number of threads."""

    def __init__(self, root: Root, pool: MemoryPool, reader: str, idle_seconds: float = IDLE_SECONDS) -> None:
        """pool: the budget of everything that is open, of loaders (`reserve`), and of collections."""
        self.memory = pool.memory
        self._pool = pool
        pool.add(self)
        self._root, self._reader, self._idle_seconds = root, reader, idle_seconds
        self._entries: dict[_Key, _Entry] = {}  # the one used last is the last
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sweeper: threading.Thread | None = None

    @contextlib.contextmanager
    def table(self, name: str, object_id: str = "", version: int | None = None) -> Iterator[FeatureTable]:
        """A feature table, by default its current version, which stays open as long as the context.

        object_id: the one expected; "" is any. Raises NotFound for a version that is gone, ResourceExhausted when those
        in use leave too little memory, and as `FeatureTable.open` does.
        """
        opener = lambda lease: FeatureTable.open(lease, self.memory, self._reader, name)  # noqa: E731
        with self._using("features", name, object_id, version, opener) as table:
            yield table

    @contextlib.contextmanager
    def graph(self, name: str, object_id: str = "", version: int | None = None) -> Iterator[Graph]:
        """A graph, as `table` has it: in memory where the budget allows, when what nobody uses is closed, or mapped."""
        opener = lambda lease: self._open_graph(lease, name)  # noqa: E731
        with self._using("graphs", name, object_id, version, opener) as graph:
            yield graph

    def record(self, kind: str, name: str, object_id: str = "") -> ObjectRecord:
        """Return an object by its name. Raises NotFound, also when `object_id` is that of another one."""
        record = self._root.get(kind, name)
        if object_id and record.id != object_id:
            raise NotFound(f"{record.title} was dropped and made anew; open it again")
        return record

    def reserve(self, owner: str, size_bytes: int) -> Reservation:
        """Reserve memory beside that of open objects, closing idle ones as needed. Raises ResourceExhausted."""
        if size_bytes > self.memory.budget_bytes:
            return self.memory.reserve(owner, size_bytes)  # is refused; nothing is closed for it
        return self._with_room(lambda: self.memory.reserve(owner, size_bytes))

    def statistics(self) -> list[tuple[str, str, Any]]:
        """Return (kind, name, value) of all that is open."""
        with self._lock:
            entries = [entry for entry in self._entries.values() if _is_open(entry)]
            return [(entry.record.kind, entry.record.name, entry.opening.result()) for entry in entries]

    def table_statistics(self, object_id: str, version: int) -> FeatureStatistics:
        """Return what was read of a feature table since it was opened; zeros of one that is not open."""
        with self._lock:
            entry = self._entries.get((object_id, version))
        if entry is None or not _is_open(entry):
            return FeatureStatistics(0, 0, 0)
        table: FeatureTable = entry.opening.result()
        return table.statistics()

    def release_idle(self, idle_seconds: float = 0.0) -> None:
        """Close what nobody has used for so long, and what is idle and no longer the current version."""
        with self._lock:
            idle = [entry for entry in self._entries.values() if not entry.users and _is_open(entry)]
        latest = time.monotonic() - idle_seconds
        wanted = [entry for entry in idle if entry.last_used <= latest or self._is_old(entry)]
        for entry in self._take(lambda entry: any(entry is each for each in wanted)):
            entry.opening.result().close()

    def oldest_use(self) -> float | None:
        """Return when what is idle and was used longest ago was used, by time.monotonic; None when nothing is idle."""
        with self._lock:
            idle = (entry for entry in self._entries.values() if not entry.users and _is_open(entry))
            oldest = next(idle, None)
            return None if oldest is None else oldest.last_used

    def close_oldest(self) -> bool:
        """Close what was idle longest; return whether there was anything."""
        taken = self._take(lambda entry: True, most=1)
        for entry in taken:
            entry.opening.result().close()
        return bool(taken)

    def close(self) -> None:
        """Close everything. No call may be under way."""
        self._closing.set()
        if self._sweeper is not None:
            self._sweeper.join()
        self.release_idle()
        assert not self._entries, "a call is under way"

    # ---- entries

    @contextlib.contextmanager
    def _using(
        self, kind: str, name: str, object_id: str, version: int | None, opener: Callable[[VersionLease], Value]
    ) -> Iterator[Value]:
        entry = self._entered(kind, name, object_id, version, opener)
        try:
            value: Value = entry.opening.result()
            yield value
        finally:
            self._left(entry)

    def _entered(
        self, kind: str, name: str, object_id: str, version: int | None, opener: Callable[[VersionLease], Any]
    ) -> _Entry:
        """An entry that is open and used by one more."""
        while True:
            record = self.record(kind, name, object_id)
            wanted = record.current_version if version is None else version
            entry, is_new = self._found((record.id, -1 if wanted is None else wanted), record)
            try:
                if is_new:
                    self._open((record.id, -1 if wanted is None else wanted), entry, wanted, opener)
                entry.opening.result()
                return entry
            except NotFound:
                self._left(entry)
                # The version that was current may have been replaced, and removed, before it was leased.
                if version is not None or self.record(kind, name, object_id).current_version == wanted:
                    raise
            except BaseException:
                self._left(entry)
                raise

    def _found(self, key: _Key, record: ObjectRecord) -> tuple[_Entry, bool]:
        """The entry of a key, used by one more; whether it is new, and the caller must open it."""
        with self._lock:
            assert not self._closing.is_set()
            entry = self._entries.pop(key, None)
            is_new = entry is None
            entry = entry or _Entry(record)
            self._entries[key] = entry
            entry.users += 1
            return entry, is_new

    def _left(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            entry.last_used = time.monotonic()

    def _open(self, key: _Key, entry: _Entry, version: int | None, opener: Callable[[VersionLease], Value]) -> None:
        try:
            value = self._with_room(lambda: opener(self._root.open_version(entry.record.id, version)))
        except BaseException as error:
            with self._lock:
                del self._entries[key]
            entry.opening.set_exception(error)  # for those who wait for it, this call included
        else:
            entry.opening.set_result(value)
            self._start_sweeper()

    def _open_graph(self, lease: VersionLease, name: str) -> Graph:
        # In memory it is faster by far, so idle objects make room for one that is not too large.
        wanted = lease.manifest.size_bytes + lease.manifest.size_bytes // 1000 + (4 << 20)
        if wanted <= self.memory.budget_bytes // 2:
            while self.memory.statistics().available_bytes < wanted and self._pool.make_room():
                pass
        return Graph.open(lease, self.memory, "auto", self._reader, name)

    def _with_room(self, attempt: Callable[[], Value]) -> Value:
        """Return what `attempt` returns; where the budget refuses it, without the idle ones, one after the other, and
        without collections."""
        try:
            return attempt()
        except ResourceExhausted:
            pass
        with self._pool.turn():  # so that no collection takes the room that was made
            while True:
                try:
                    return attempt()
                except ResourceExhausted:
                    if not self._pool.make_room():
                        raise

    def _take(self, wanted: Callable[[_Entry], bool], most: int | None = None) -> list[_Entry]:
        """Remove idle entries, those used longest ago first, and return them: nobody else can find them any more."""
        with self._lock:
            idle = [key for key, entry in self._entries.items() if not entry.users and _is_open(entry)]
            found = [key for key in idle if wanted(self._entries[key])][:most]
            return [self._entries.pop(key) for key in found]

    def _is_old(self, entry: _Entry) -> bool:
        """Whether something else has the name by now. A client that reads on from an older version, which it opened
        before, has some seconds between its calls."""
        if entry.last_used + self._idle_seconds / 10 > time.monotonic():
            return False
        try:
            record = self._root.get(entry.record.kind, entry.record.name)
        except NotFound:
            return True
        return (record.id, record.current_version) != (entry.record.id, entry.opening.result().manifest.version)

    # ---- the thread

    def _start_sweeper(self) -> None:
        with self._lock:
            if self._sweeper is None and not self._closing.is_set():
                self._sweeper = threading.Thread(target=self._sweep, name="outcrop opened objects", daemon=True)
                self._sweeper.start()

    def _sweep(self) -> None:
        while not self._closing.wait(self._idle_seconds / 10):
            self.release_idle(self._idle_seconds)


def _is_open(entry: _Entry) -> bool:
    return entry.opening.done() and entry.opening.exception() is None
