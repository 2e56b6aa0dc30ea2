"""Observing tells everything and opens nothing."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from outcrop.collection import statistics_if_open
from outcrop.server.engine import Engine
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer, PeriodicObserver
from outcrop.server.settings import ServerSettings

Value = Callable[..., float | None]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    vectors = np.random.default_rng(3).standard_normal((500, 16), np.float32)
    with Engine(ServerSettings(path=tmp_path, memory="16MiB", threads=1)) as engine:
        engine.database.create_collection("docs", dim=16).build(vectors, memory="32MiB").wait()
        engine.database.create_collection("empty", dim=4)
        engine.database.import_features("x", vectors).wait()
        engine.database.import_graph("g", np.array([[0, 1], [1, 2]]), num_nodes=3).wait()
        yield engine


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def value(metrics: ServerMetrics) -> Value:
    def look(metric: str, kind: str, name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"outcrop_{metric}", {"kind": kind, "name": name, **labels})

    return look


def test_everything_in_the_root_is_told_and_nothing_is_opened(
    engine: Engine, metrics: ServerMetrics, value: Value
) -> None:
    Observer(engine, metrics).observe()

    objects = [("collections", "docs"), ("collections", "empty"), ("features", "x"), ("graphs", "g")]
    assert [value("object_version", *each) for each in objects] == [1, 0, 1, 1]
    assert value("object_rows", "collections", "docs") == 500
    assert value("object_disk_bytes", "graphs", "g")
    assert statistics_if_open(engine.database.collection("docs")) is None
    assert engine.opened.statistics() == []


def test_use_is_told_by_tier_and_by_object(engine: Engine, metrics: ServerMetrics, value: Value) -> None:
    observer = Observer(engine, metrics)
    observer.observe()

    engine.collection("docs").search(np.zeros((4, 16), np.float32), k=3)
    with engine.opened.table("x") as table:
        table.fetch([1, 2, 3])
        observer.observe()

    assert value("device_reads_total", "collections", "docs")
    assert value("tier_lookups_total", "features", "x", tier="device") == 3
    assert value("memory_bytes", "collections", "docs", owner="centroids")
    assert value("memory_bytes", "server", "graphs and features", owner="checksum tables")


def test_new_versions_and_drops_are_noticed(engine: Engine, metrics: ServerMetrics, value: Value) -> None:
    observer = Observer(engine, metrics)
    observer.observe()

    engine.database.import_features("x", np.zeros((7, 2), np.float32)).wait()
    engine.database.drop_collection("docs")
    observer.observe()

    assert (value("object_version", "features", "x"), value("object_rows", "features", "x")) == (2, 7)
    assert value("object_version", "collections", "docs") == -1


def test_a_periodic_observer_observes_until_it_is_left(engine: Engine, metrics: ServerMetrics, value: Value) -> None:
    with PeriodicObserver(Observer(engine, metrics), seconds=0.01):
        for _ in range(1000):
            if value("object_version", "graphs", "g") == 1:
                break
            time.sleep(0.01)

    assert value("object_version", "graphs", "g") == 1
