"""From what the engine holds to metrics, without opening anything."""

import threading
from collections.abc import Iterator
from typing import Final

import structlog

from outcrop.collection import statistics_if_open
from outcrop.errors import OutcropError
from outcrop.gnn_loader import FeatureTable
from outcrop.server.engine import Engine
from outcrop.server.memory_pool import COLLECTIONS
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import ObjectUsage, collection_usage, features_usage, stored_usage
from outcrop.store import Manifest
from outcrop.types import KINDS

# Graphs and tables that are open share one budget, so that their memory is told in one place.
SHARED: Final = ("server", "graphs and features")

_log = structlog.get_logger("outcrop.status")


class Observer:
    """Copies to `metrics` what the objects of a root are, hold and have read. For any number of threads."""

    def __init__(self, engine: Engine, metrics: ServerMetrics) -> None:
        self._engine, self._metrics = engine, metrics
        self._lock = threading.Lock()
        self._token: tuple[object, ...] | None = None
        self._manifests: dict[tuple[str, str], Manifest | None] = {}

    def observe(self) -> None:
        """Copy what is so now. Reads the catalog only if it has changed since the last time."""
        with self._lock:
            self._metrics.observe(list(self._usages()))

    def _usages(self) -> Iterator[ObjectUsage]:
        tables = {name: value for _, name, value in self._engine.opened.statistics() if isinstance(value, FeatureTable)}
        for (kind, name), manifest in self._current().items():
            if kind == "collections":
                yield self._collection(name, manifest)
            elif kind == "features":
                table = tables.get(name)
                yield features_usage(name, manifest, None if table is None else table.statistics())
            else:
                yield stored_usage(kind, name, manifest)
        # Collections tell theirs one by one.
        owners = self._engine.pool.memory.statistics().owners
        yield ObjectUsage(*SHARED, memory={owner: held for owner, held in owners if owner != COLLECTIONS})

    def _collection(self, name: str, manifest: Manifest | None) -> ObjectUsage:
        usage = stored_usage("collections", name, manifest)
        try:
            statistics = statistics_if_open(self._engine.database.collection(name))
        except OutcropError:
            return usage  # dropped, or damaged, since the catalog was read
        return usage if statistics is None else collection_usage(usage, statistics)

    def _current(self) -> dict[tuple[str, str], Manifest | None]:
        root = self._engine.database.connection.root
        token = root.changed_token()
        if token != self._token:
            records = [record for kind in KINDS for record in root.list_objects(kind)]
            self._manifests = {(each.kind, each.name): self._engine.manifest(each) for each in records}
            self._token = token
        return self._manifests


class PeriodicObserver:
    """Observes every few seconds, where another process is scraped. A context manager."""

    def __init__(self, observer: Observer, seconds: float = 2.0) -> None:
        self._observer, self._seconds = observer, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> "PeriodicObserver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._observer.observe()
            except Exception:  # such as a disk that fails for a while: the next time may go well
                _log.exception("the numbers could not be read")
            if self._ended.wait(self._seconds):
                return
