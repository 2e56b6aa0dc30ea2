"""What a serving process shows of itself: its own port, or numbers for the process that started it."""

import contextlib
import importlib.metadata
import os
import time

from outcrop.server.http_status import StatusServer
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer, PeriodicObserver
from outcrop.server.scrape import FOLDER_VARIABLE
from outcrop.server.settings import ServerSettings

SERVING = "serving"  # the one state in which new calls are taken


class Status:
    """Shows a process until it is closed. state: a word for people, such as starting, serving, draining."""

    def __init__(self, settings: ServerSettings, metrics: ServerMetrics, observer: Observer, address: str) -> None:
        """address: where the service listens. Raises Unavailable when the metrics port is taken."""
        self.state = "starting"
        self.server: StatusServer | None = None
        self._resources = contextlib.ExitStack()
        began = time.time()
        if settings.metrics.listen is not None:
            self.server = self._resources.enter_context(
                StatusServer(
                    settings.metrics.listen,
                    metrics.registry,
                    before_scrape=observer.observe,
                    is_ready=lambda: self.state == SERVING,
                    info=lambda: server_info(address, began, self.state),
                    dashboard=settings.metrics.dashboard,
                )
            )
        elif FOLDER_VARIABLE in os.environ:
            self._resources.enter_context(PeriodicObserver(observer))

    def close(self) -> None:
        """Stop showing."""
        self._resources.close()


def server_info(address: str, started_unix: float, state: str) -> dict[str, str | float]:
    """Return what the status page says of the server itself."""
    version = importlib.metadata.version("outcrop")
    return {"version": version, "listen": address, "started_unix": started_unix, "state": state}
