"""Graphs, feature tables, plans and loaders: the same minibatches and the same refusals in every place."""

from typing import Any

import numpy as np
import pytest
from tests.conformance.refusals import refusal
from tests.gnn_loader.adapters.graphs import CITES, WRITES, communities, papers
from tests.server.graph_root import same_minibatch

from outcrop.types import CscEdgeArrays, EdgeSeeds, GraphArrays, Manifest, NodeSeeds, OnlineOptions

NUM_NODES = 300
DRAWN: dict[str, Any] = {
    "graph": "g",
    "features": "x",
    "seeds": np.arange(0, NUM_NODES, 3),
    "fanouts": [4, 3],
    "batch_size": 32,
    "seed": 5,
}
PLANNED = DRAWN | {"epochs": 2, "cache_memory": "4KiB", "pack_memory": "16MiB"}


def sources() -> tuple[GraphArrays, Any]:
    graph, features, _ = communities(5, NUM_NODES)
    edges = {edge_type: CscEdgeArrays(graph.csc(edge_type)) for edge_type in graph.edge_types}
    return GraphArrays(graph.node_types, edges), features


def filled(database: Any) -> Any:
    """Give a database the graph g, its table x, and the graph h of authors and papers."""
    graph, features = sources()
    mixed = papers(3)
    edges = {edge_type: CscEdgeArrays(mixed.csc(edge_type)) for edge_type in mixed.edge_types}
    database.import_graph("g", graph).wait()
    database.import_graph("h", GraphArrays(mixed.node_types, edges)).wait()
    database.import_features("x", features).wait()
    return database


def test_imports_make_versions_that_tell_what_they_are(database: Any) -> None:
    graph, features = sources()

    manifests = [database.import_graph("g", graph).wait(), database.import_features("x", features).wait()]

    assert all(isinstance(manifest, Manifest) and manifest.version == 1 for manifest in manifests)
    assert (database.graph_names(), database.feature_names(), database.plan_names()) == (["g"], ["x"], [])
    with database.graph("g") as found, database.features("x") as table:
        assert (found.name, found.version, found.num_nodes(), found.edge_types) == (
            "g",
            1,
            NUM_NODES,
            list(graph.edges),
        )
        assert (table.name, table.version, table.num_rows, table.row_shape) == ("x", 1, *features.shape[:1], (4,))
        assert (table.dtype, table.logical_dtype, table.row_bytes) == (np.float32, "float32", 16)
    database.import_features("x", features[:7]).wait()
    with database.features("x") as table:
        assert (table.version, table.num_rows) == (2, 7)


@pytest.mark.parametrize("codec", ["raw", "float16", "bfloat16", "int8"])
def test_rows_are_what_was_stored(database: Any, reference: Any, codec: str) -> None:
    rows = np.random.default_rng(1).normal(size=(5000, 30)).astype(np.float32)
    ids = np.random.default_rng(2).integers(0, 5000, 20_000)
    for place in (database, reference):
        place.import_features("t", rows, codec=codec).wait()

    with database.features("t") as table, reference.features("t") as expected:
        for some in (ids, ids[:3], []):
            out = np.empty((len(some), 30), np.float32)
            assert table.fetch(some, out) is out
            np.testing.assert_array_equal(out, expected.fetch(some))
            np.testing.assert_array_equal(table.fetch(some, decode=False), expected.fetch(some, decode=False))
        assert table.statistics().rows >= 20_000


@pytest.mark.parametrize(
    ("graph", "seeds", "fanouts", "sampling"),
    [
        ("g", [1, 2, 1], [3, 2], {"seed": 9}),
        ("h", NodeSeeds([3, 4], "paper"), {CITES: [2, 2], WRITES: [1, 0]}, {"disjoint": True}),
        ("h", EdgeSeeds([[1, 2], [0, 5]], WRITES, negatives=2), [2], {"keep_edges": True, "replace": True}),
    ],
)
def test_minibatches_are_drawn_alike(
    database: Any, reference: Any, graph: str, seeds: Any, fanouts: Any, sampling: dict[str, Any]
) -> None:
    with filled(database).graph(graph) as found, filled(reference).graph(graph) as expected:
        for batch in range(2):
            same_minibatch(
                found.sample(seeds, fanouts, epoch=3, batch=batch, **sampling),
                expected.sample(seeds, fanouts, epoch=3, batch=batch, **sampling),
            )
        assert found.statistics().edges == expected.statistics().edges


def test_plans_and_their_loaders_are_alike(database: Any, reference: Any) -> None:
    for place in (database, reference):
        filled(place).create_plan("p", **PLANNED).wait()

    with database.plan("p") as plan, reference.plan("p") as expected:
        assert (plan.num_shards, plan.num_epochs, plan.version) == (1, 2, 1)
        plan.check_current()
        assert plan.explain().num_minibatches == expected.explain().num_minibatches == 8
        for found, wanted in zip(plan.minibatches(), expected.minibatches(), strict=True):
            same_minibatch(found, wanted)
        with plan.loader() as loader, expected.loader() as other:
            for _ in range(3):
                assert (len(loader), loader.left_in_epoch) == (4, 4)
                for found in loader:
                    same_minibatch(found, other.next_minibatch())
            assert loader.state_dict()["position"] == 12
            loader.load_state_dict(loader.state_dict() | {"position": 5})
            assert (loader.position, loader.next_minibatch().batch) == (5, 1)
            assert loader.statistics().minibatches == 1


@pytest.mark.parametrize("kind", ["online", "fresh"])
def test_minibatches_without_a_finished_plan_are_alike(database: Any, reference: Any, kind: str) -> None:
    def opened(place: Any) -> Any:
        if kind == "online":
            return place.online_loader(**DRAWN, options=OnlineOptions("4MiB", window=3, num_sampled=2))
        return place.fresh_loader("f", **DRAWN, epochs=2, cache_memory="4KiB", pack_memory="16MiB")

    with opened(filled(database)) as loader, opened(filled(reference)) as expected:
        for _ in range(2):
            for found in loader:
                same_minibatch(found, expected.next_minibatch())
        assert loader.position == 8


REFUSED = [
    lambda place: place.graph("nothing"),
    lambda place: place.features("nothing"),
    lambda place: place.plan("nothing"),
    lambda place: place.drop_graph("nothing"),
    lambda place: place.drop_features("a/b"),
    lambda place: place.drop_plan("nothing"),
    lambda place: place.features("x").fetch([1, NUM_NODES]),
    lambda place: place.features("x").fetch([0.5]),
    lambda place: place.graph("g").sample([NUM_NODES], [1]),
    lambda place: place.graph("g").sample([1], [1], labor="some"),
    lambda place: place.graph("g").num_nodes("some"),
    lambda place: place.import_graph("a/b", np.zeros((2, 1), np.int64)),
    lambda place: place.import_graph("r", np.zeros((3, 1), np.int64)),
    lambda place: place.import_graph("r", np.array([[7], [0]]), num_nodes=2),
    lambda place: place.import_features("r", np.zeros((2, 2)), codec="zip"),
    lambda place: place.import_features("r", np.full((2, 2), np.nan), codec="int8"),
    lambda place: place.create_plan("r", **(PLANNED | {"graph": "nothing"})),
    lambda place: place.create_plan("r", **(PLANNED | {"features": "nothing"})),
    lambda place: place.create_plan("r", **(PLANNED | {"epochs": 0})),
    lambda place: place.create_plan("r", **(PLANNED | {"num_shards": 70})),
    lambda place: place.create_plan("r", **(PLANNED | {"pack_memory": "1MiB"})),
    lambda place: place.create_plan("r", **(PLANNED | {"fanouts": [-5]})),
]


def test_refusals_are_alike(database: Any, reference: Any) -> None:
    for place in (database, reference):
        filled(place)

    for call in REFUSED:
        assert refusal(lambda: call(database)) == refusal(lambda: call(reference))  # noqa: B023


def test_a_plan_whose_table_has_changed_is_stale(database: Any, reference: Any) -> None:
    for place in (database, reference):
        filled(place).create_plan("p", **PLANNED).wait()
        place.import_features("x", np.zeros((NUM_NODES, 4), np.float32)).wait()

    assert refusal(lambda: database.plan("p")) == refusal(lambda: reference.plan("p"))


def test_what_is_dropped_is_gone(database: Any) -> None:
    filled(database).create_plan("p", **PLANNED).wait()

    database.drop_plan("p")
    database.drop_features("x")
    database.drop_graph("g")

    assert database.stored_names() == [("graphs", "h")]
