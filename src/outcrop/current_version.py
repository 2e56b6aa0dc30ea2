"""The version of a collection that is open for search, and when it is closed: never under a call."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from outcrop.ann import CollectionSpec, Index, memory_needs, range_buffer_bytes
from outcrop.connection import Connection, MemoryShare
from outcrop.errors import NotFound, ResourceExhausted
from outcrop.stop import Stop, held
from outcrop.store import Accountant, StorageReader, VersionLease


@dataclass(slots=True)
class OpenVersion:
    """A version that is open for search. users: calls that work with it now; it is closed when it is retired and the
    last of them has left. share: what it holds of a shared budget."""

    version: int
    index: Index
    reader: StorageReader
    resources: contextlib.ExitStack
    share: MemoryShare | None
    users: int = 0
    retired: bool = False
    last_used: float = 0.0


class CurrentVersion:
    """What a collection has open: nothing, or one version for any number of calls. For any number of threads."""

    def __init__(self, connection: Connection, name: str, collection_id: str, spec: CollectionSpec) -> None:
        """Open nothing yet."""
        self.name = name
        self._id, self._spec = collection_id, spec
        self._connection, self._root = connection, connection.root
        self._lock = threading.Lock()  # held for moments only
        self._opening = threading.Lock()  # held by the one call that opens; it may wait for memory
        self._open: OpenVersion | None = None

    @contextlib.contextmanager
    def using(self, stop: Stop | None = None) -> Iterator[OpenVersion]:
        """The open version, opened if there is none, which nobody closes meanwhile."""
        opened = self._entered_if_open() or self._entered(stop)
        try:
            yield opened
        finally:
            self._leave(opened)

    @contextlib.contextmanager
    def using_if_open(self) -> Iterator[OpenVersion | None]:
        """The same for observers, who open nothing."""
        opened = self._entered_if_open()
        try:
            yield opened
        finally:
            if opened is not None:
                self._leave(opened, used=False)

    def is_current(self) -> bool:
        """Whether what is open, if anything is, is the current version of a collection that still exists."""
        return self._is_current(self._open)

    def catch_up(self) -> bool:
        """Retire what is open unless it is current; return whether it was not."""
        opened = self._open
        if self._is_current(opened):
            return False
        self._retire(opened)
        return True

    def close(self) -> None:
        """Close what is open, also what is being opened, once its last call has left."""
        with self._opening:
            self.retire()

    # ---- what a shared budget sees: connection.OpenCollection

    @property
    def last_used(self) -> float | None:
        """When its last call ended, by time.monotonic; None while nothing is open, or it is in use."""
        with self._lock:
            return None if self._open is None or self._open.users else self._open.last_used

    @property
    def is_open(self) -> bool:
        """Whether a version is open that new calls would use."""
        return self._open is not None

    def close_if_idle(self) -> bool:
        """Close what is open unless it is in use; return whether it was closed."""
        with self._lock:
            opened = self._open
            if opened is None or opened.users:
                return False
            self._forget(opened)
        opened.resources.close()
        return True

    def retire(self) -> None:
        """Let calls under way end with what is open, which is closed then; the next call opens it anew."""
        self._retire(self._open)

    # ---- users

    def _entered_if_open(self) -> OpenVersion | None:
        with self._lock:
            if self._open is not None:
                self._open.users += 1
            return self._open

    def _entered(self, stop: Stop | None) -> OpenVersion:
        with held(self._opening, stop):
            opened = self._entered_if_open()
            if opened is None:
                opened = self._opened(stop)
                opened.users = 1
                with self._lock:
                    self._open = opened
            return opened

    def _leave(self, opened: OpenVersion, used: bool = True) -> None:
        with self._lock:
            opened.users -= 1
            if used:
                opened.last_used = time.monotonic()
            last = opened.retired and opened.users == 0
        if last:
            opened.resources.close()

    def _is_current(self, opened: OpenVersion | None) -> bool:
        try:
            record = self._root.get("collections", self.name)
        except NotFound:
            return False
        return record.id == self._id and (opened is None or opened.version == record.current_version)

    def _retire(self, opened: OpenVersion | None) -> None:
        """Close a version, unless somebody else has done so, when its last user leaves."""
        with self._lock:
            if opened is None or opened.retired:
                return
            self._forget(opened)
            idle = opened.users == 0
        if idle:
            opened.resources.close()

    def _forget(self, opened: OpenVersion) -> None:
        opened.retired = True
        if opened.share is not None:
            opened.share.is_retiring = True
        self._open = None

    # ---- opening

    def _opened(self, stop: Stop | None) -> OpenVersion:
        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._root.open_version(self._id))
            if self._connection.shared_memory is None:
                memory = Accountant(self._connection.memory_bytes)
                return self._opened_within(memory, None, lease, stack)
            return self._opened_with_share(lease, stack, stop)

    def _opened_with_share(self, lease: VersionLease, stack: contextlib.ExitStack, stop: Stop | None) -> OpenVersion:
        shared, manifest = self._connection.shared_memory, lease.manifest
        assert shared is not None
        files = {entry.name: entry for entry in manifest.files}
        needs = memory_needs(manifest.properties, files, self._spec.row_bytes, self._connection.threads)
        while True:
            with contextlib.ExitStack() as attempt:
                share = shared.take(self, needs, stop)
                attempt.callback(share.close)
                try:
                    opened = self._opened_within(Accountant(share.size_bytes), share, lease, attempt)
                except ResourceExhausted:
                    # `take` ends this when the version would need more than there is.
                    needs = needs.raised()
                    continue
                stack.push(opened.resources)  # closed before the lease
                opened.resources = stack.pop_all()
                return opened

    def _opened_within(
        self, memory: Accountant, share: MemoryShare | None, lease: VersionLease, stack: contextlib.ExitStack
    ) -> OpenVersion:
        """Open a leased version. stack: of what is to be closed after it; the version has it from now on."""
        connection, manifest = self._connection, lease.manifest
        buffer_bytes = range_buffer_bytes(memory.budget_bytes)
        reader = stack.enter_context(StorageReader(memory, connection.reader, buffer_bytes=buffer_bytes))
        files = {entry.name: entry for entry in manifest.files}
        threads, cache = connection.threads, connection.cache_lists
        index = Index(self._spec, manifest.properties, files, lease.folder, reader, threads, cache)
        stack.enter_context(index)
        return OpenVersion(manifest.version, index, reader, stack.pop_all(), share)
