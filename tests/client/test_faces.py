"""Whoever knows the embedded classes knows those of a server, called and awaited."""

import pytest
from tests.faces import differences

from outcrop import client
from outcrop.ann import Scan
from outcrop.client import async_opened, async_snapshots, features, graph, loader, plan, scan, snapshot_archive
from outcrop.collection import Collection
from outcrop.embedded import Database
from outcrop.gnn_loader import FeatureTable, FreshLoader, Graph, OnlineLoader, Plan, PlannedLoader
from outcrop.jobs import Job
from outcrop.store.snapshots import SnapshotArchive

# What only a server has: its jobs, which outlive their callers, and what it tells of itself.
_DATABASE = {"endpoint", "job", "list_jobs", "server_info"}
_JOB = {"id", "report", "began", "show"}
# Properties here, attributes of the instance there.
MORE: dict[type, set[str]] = {
    client.Database: _DATABASE,
    client.AsyncDatabase: _DATABASE,
    client.RemoteJob: _JOB,
    client.AsyncRemoteJob: _JOB,
    features.FeatureTable: {"name", "num_rows"},
    async_opened.AsyncFeatureTable: {"name", "num_rows"},
    graph.Graph: {"name", "node_types"},
    async_opened.AsyncGraph: {"name", "node_types"},
    plan.Plan: {"name"},
    async_opened.AsyncPlan: {"name"},
    loader.PlannedLoader: {"num_minibatches"},
    scan.AsyncScan: {"version", "num_rows"},
}
# A served plan is verified where the others are: `Database.verify`.
LACKED = {plan.Plan: ["it lacks verify"], async_opened.AsyncPlan: ["it lacks verify"]}


@pytest.mark.parametrize(
    ("embedded", "served"),
    [
        (Collection, client.Collection),
        (Database, client.Database),
        (FeatureTable, features.FeatureTable),
        (FreshLoader, loader.FreshLoader),
        (Graph, graph.Graph),
        (Job, client.RemoteJob),
        (OnlineLoader, loader.OnlineLoader),
        (Plan, plan.Plan),
        (PlannedLoader, loader.PlannedLoader),
        (Scan, scan.Scan),
        (SnapshotArchive, snapshot_archive.SnapshotArchive),
    ],
)
def test_a_served_class_has_the_methods_of_the_embedded_one(embedded: type, served: type) -> None:
    assert differences(embedded, served, more=MORE.get(served, ())) == LACKED.get(served, [])


@pytest.mark.parametrize(
    ("embedded", "served"),
    [
        (Collection, client.AsyncCollection),
        (Database, client.AsyncDatabase),
        (FeatureTable, async_opened.AsyncFeatureTable),
        (Graph, async_opened.AsyncGraph),
        (Job, client.AsyncRemoteJob),
        (Plan, async_opened.AsyncPlan),
        (Scan, scan.AsyncScan),
        (SnapshotArchive, async_snapshots.AsyncSnapshotArchive),
    ],
)
def test_an_asynchronous_served_class_has_them_too(embedded: type, served: type) -> None:
    # A task is cancelled instead of a Stop that is set.
    assert differences(embedded, served, without={"stop"}, more=MORE.get(served, ())) == LACKED.get(served, [])
