"""The embedded engine behind the services: one open root, and what is open in it, always at its current version."""

import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from types import TracebackType

from outcrop.embedded import Collection, Database, connect
from outcrop.server.settings import ServerSettings


class Engine:
    """A database and the threads that its calls run in. A context manager; for any number of threads."""

    def __init__(self, settings: ServerSettings, *, read_only: bool = False) -> None:
        """Open the root. read_only: a reader beside the process that writes."""
        self.settings = settings
        self.database: Database = connect(
            settings.path,
            memory=settings.memory,
            read_only=read_only,
            reader=settings.reader,
            threads=settings.threads,
        )
        self.executor: Executor = ThreadPoolExecutor(settings.limits.calls, thread_name_prefix="engine")
        self._lock = threading.Lock()

    def collection(self, name: str) -> Collection:
        """Return a collection whose next search sees what is committed now. Raises NotFound."""
        collection = self.database.collection(name)
        collection.catch_up()
        return collection

    def close(self) -> None:
        """End the threads and close what is open."""
        self.executor.shutdown(wait=True)
        self.database.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
