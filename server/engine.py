"""The embedded engine behind the services: one open root, and what is open in it, always at its current version and all
of it within one budget."""

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType

from outcrop.embedded import Collection, Database, connect
from outcrop.server.memory_pool import MemoryPool
from outcrop.server.metrics import ServerMetrics
from outcrop.server.opened import OpenedObjects
from outcrop.server.settings import ServerSettings
from outcrop.store import Manifest, ObjectRecord


class Engine:
    """A database and the threads that its calls run in. A context manager; for any number of threads."""

    def __init__(
        self, settings: ServerSettings, *, read_only: bool = False, metrics: ServerMetrics | None = None
    ) -> None:
        """Open the root. read_only: a reader beside the process that writes. metrics: where services count."""
        self.settings = settings
        self.metrics = metrics or ServerMetrics()
        self.database: Database = connect(
            settings.path,
            memory=settings.memory,
            read_only=read_only,
            reader=settings.reader,
            threads=settings.threads,
        )
        # A thread for each call that is let in, so that none waits for another's.
        most = settings.limits.calls + settings.limits.streams
        self.executor: Executor = ThreadPoolExecutor(most, thread_name_prefix="engine")
        self._lock = threading.Lock()
        self.pool = MemoryPool(settings.memory)
        self.database.connection.shared_memory = self.pool
        self.opened = OpenedObjects(self.database.connection.root, self.pool, settings.reader)

    def collection(self, name: str) -> Collection:
        """Return a collection whose next search sees what is committed now. Raises NotFound."""
        collection = self.database.collection(name)
        collection.catch_up()
        return collection

    def manifest(self, record: ObjectRecord) -> Manifest | None:
        """Return that of an object's current version; None before the first one."""
        versions = self.database.connection.root.list_versions(record.id)
        return next((each for each in reversed(versions) if each.version == record.current_version), None)

    def drop(self, kind: str, name: str) -> None:
        """Remove a graph, a feature table or a plan. Raises NotFound."""
        root = self.database.connection.root
        root.drop(kind, name)
        self.opened.release_idle(float("inf"))
        root.gc()

    def close(self) -> None:
        """End the threads and close what is open."""
        self.executor.shutdown(wait=True)
        self.opened.close()
        self.database.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
