"""What embedded objects report becomes numbers by tier."""

import numpy as np
import pytest

import outcrop
from outcrop.embedded import Database
from outcrop.gnn_loader import OnlineOptions, OnlineStatistics
from outcrop.server.loader_meter import LoaderMeter
from outcrop.server.metrics import ServerMetrics
from outcrop.server.object_usage import collection_usage, features_usage, online_lookups, planned_lookups, stored_usage


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    rng = np.random.default_rng(11)
    database = outcrop.connect(tmp_path_factory.mktemp("usage"), memory="16MiB", threads=1)
    vectors = rng.standard_normal((2000, 16), np.float32)
    database.create_collection("docs", dim=16).build(vectors, memory="32MiB").wait()
    database.import_features("x", vectors).wait()
    src, dst = rng.integers(0, 2000, (2, 8000))
    database.import_graph("g", np.stack([src, dst]), num_nodes=2000).wait()
    return database


def test_a_collection_tells_its_memory_and_reads_once_it_is_open(database: Database) -> None:
    docs = database.collection("docs")
    manifest = database.connection.root.list_versions(docs.id)[-1]
    closed = stored_usage("collections", "docs", manifest)
    docs.search(np.zeros((8, 16), np.float32), k=3)

    opened = collection_usage(closed, docs.statistics())

    assert (closed.kind, closed.version, closed.num_rows, dict(closed.memory)) == ("collections", 1, 2000, {})
    assert opened.memory["centroids"] > 0
    assert opened.reads > 0
    assert opened.read_bytes >= 4096 * opened.reads
    assert set(opened.lookups) == {"list cache", "device"}
    assert opened.lookups["device"] > 0


def test_a_table_tells_its_fetches(database: Database) -> None:
    with database.features("x") as table:
        table.fetch([1, 2, 3])
        usage = features_usage("x", table.manifest, table.statistics())

    assert (usage.num_rows, usage.version, dict(usage.lookups)) == (2000, 1, {"device": 3})
    assert usage.reads > 0
    assert dict(features_usage("x", None, None).lookups) == {}


def test_a_graph_tells_what_it_takes_on_disk(database: Database) -> None:
    with database.graph("g") as graph:
        usage = stored_usage("graphs", "g", graph.manifest, {"arrays": graph.statistics().memory_bytes})

    assert usage.disk_bytes == graph.manifest.size_bytes
    assert usage.memory["arrays"] > 0


def test_loaders_tell_which_tier_held_their_rows(database: Database) -> None:
    options = {"graph": "g", "features": "x", "seeds": np.arange(200), "fanouts": [3, 3], "batch_size": 50}
    database.create_plan("p", **options, cache_memory="64KiB", pack_memory="32MiB").wait()  # type: ignore[arg-type]

    with database.plan("p") as plan, plan.loader() as loader:
        rows = sum(len(batch.features["x"]) for batch in loader)
        planned = planned_lookups(loader.statistics())

    assert sum(planned.values()) >= rows  # the loader reads ahead
    assert planned["plan cache"] > 0


def test_online_loaders_tell_which_tier_held_their_rows(database: Database) -> None:
    online = OnlineOptions(cache_memory="64KiB")
    with database.online_loader(
        graph="g", features="x", seeds=np.arange(200), fanouts=[3, 3], batch_size=50, options=online
    ) as loader:
        rows = sum(len(batch.features["x"]) for batch in loader)
        lookups = online_lookups(loader.statistics())

    assert sum(lookups.values()) >= rows  # the loader samples ahead
    assert set(lookups) == {"hot set", "cache", "victim buffer", "device"}


def test_a_stream_tells_what_its_loader_has_done_since_the_last_look(database: Database) -> None:
    metrics = ServerMetrics()
    meter = LoaderMeter(metrics, "graphs", "g")

    def counted(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"outcrop_{name}", {"kind": "graphs", "name": "g", **labels}) or 0

    with database.online_loader(
        graph="g", features="x", seeds=np.arange(200), fanouts=[3, 3], batch_size=50, options=OnlineOptions("64KiB")
    ) as loader:
        for _ in loader:
            meter.look(loader.statistics())
        last = loader.statistics()
        meter.look(last)
        meter.look(last)

    assert counted("tier_lookups_total", tier="device") == online_lookups(last)["device"] > 0
    assert (
        counted("device_reads_total") == sum(each.master_reads + each.victim.reads for each in last.tiers.values()) > 0
    )
    meter.look(OnlineStatistics(0, {}, 0, 0, 0, 0, 0, 0, 0))
    assert counted("tier_lookups_total", tier="device") == online_lookups(last)["device"]
