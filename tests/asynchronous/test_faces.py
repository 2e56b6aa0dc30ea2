"""Whoever knows the synchronous classes knows these."""

import inspect

import pytest
from tests.faces import differences

import outcrop
from outcrop.ann import Scan
from outcrop.asynchronous import (
    AsyncCollection,
    AsyncDatabase,
    AsyncFeatureTable,
    AsyncGraph,
    AsyncJob,
    AsyncLoader,
    AsyncPlan,
    AsyncScan,
    AsyncSnapshotArchive,
)
from outcrop.collection import Collection
from outcrop.embedded import Database
from outcrop.gnn_loader import FeatureTable, FreshLoader, Graph, OnlineLoader, Plan, PlannedLoader
from outcrop.jobs import Job
from outcrop.store.snapshots import SnapshotArchive

# What a synchronous object has as attributes of the instance.
ATTRIBUTES: dict[type, set[str]] = {
    AsyncCollection: {"name", "id", "spec"},
    AsyncGraph: {"name", "node_types"},
    AsyncFeatureTable: {"name", "num_rows"},
    AsyncPlan: {"name"},
    AsyncScan: {"version", "num_rows"},
}


@pytest.mark.parametrize(
    ("original", "twin"),
    [
        (Collection, AsyncCollection),
        (Database, AsyncDatabase),
        (FeatureTable, AsyncFeatureTable),
        (FreshLoader, AsyncLoader),
        (Graph, AsyncGraph),
        (Job, AsyncJob),
        (OnlineLoader, AsyncLoader),
        (Plan, AsyncPlan),
        (PlannedLoader, AsyncLoader),
        (Scan, AsyncScan),
        (SnapshotArchive, AsyncSnapshotArchive),
    ],
)
def test_an_asynchronous_class_has_the_methods_of_its_twin(original: type, twin: type) -> None:
    # A task is cancelled instead of a Stop that is set.
    assert differences(original, twin, without={"stop"}, more=ATTRIBUTES.get(twin, ())) == []


def test_both_connect_with_the_same_arguments() -> None:
    one, other = inspect.signature(outcrop.connect), inspect.signature(outcrop.connect_async)

    assert list(one.parameters.values()) == list(other.parameters.values())
