"""The numbers of one process, or of several added up, as something that Prometheus' library can write out."""

import tempfile
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# Read by prometheus_client when it is imported: a process that is to write to a folder is started with it.
FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


class SharedMetrics:
    """A folder in which worker processes keep their numbers; who starts them makes it and reads it. A context manager.

    with SharedMetrics() as shared:
        process = subprocess.Popen(command, env=os.environ | shared.environment)
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="outcrop-metrics-")
        self.environment = {FOLDER_VARIABLE: self._folder.name}
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, path=self._folder.name)  # type: ignore[no-untyped-call]

    def forget(self, pid: int) -> None:
        """A worker has ended: what it held is held no more. What it has counted stays."""
        mark_process_dead(pid, self._folder.name)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Remove the folder; the workers have ended."""
        self._folder.cleanup()

    def __enter__(self) -> "SharedMetrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
