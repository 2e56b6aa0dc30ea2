"""Graphs, tables and plans of a server are those of its root: same numbers, same minibatches, same refusals."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.client.graphs import database as database
from tests.client.graphs import embedded as embedded
from tests.client.graphs import served as served
from tests.gnn_loader.adapters.graphs import CITES, WRITES
from tests.server.graph_root import NUM_NODES, same_minibatch

from outcrop.client import Database
from outcrop.embedded import Database as Embedded
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument, NotFound, OutcropError
from outcrop.stop import Stop
from outcrop.types import DeviceModel, EdgeSeeds, NodeSeeds


def refusal(call: Callable[[], object]) -> tuple[type[OutcropError], str]:
    with pytest.raises(OutcropError) as raised:
        call()
    return type(raised.value), str(raised.value)


def test_names_are_listed(database: Database) -> None:
    assert database.graph_names() == ["g", "h"]
    assert database.feature_names() == ["a", "b", "x", "xq"]
    assert database.plan_names() == ["p", "q"]


# ---- tables


@pytest.mark.parametrize("name", ["x", "xq", "a", "b"])
def test_a_table_says_what_it_is(database: Database, embedded: Embedded, name: str) -> None:
    with database.features(name) as table, embedded.features(name) as expected:
        for attribute in ("name", "version", "num_rows", "row_shape", "dtype", "logical_dtype", "row_bytes"):
            assert getattr(table, attribute) == getattr(expected, attribute)


@pytest.mark.parametrize("count", [0, 1, 5, 70_000])
@pytest.mark.parametrize("name", ["x", "xq", "b"])
@pytest.mark.parametrize("decode", [True, False])
def test_rows_are_the_tables(database: Database, embedded: Embedded, name: str, count: int, decode: bool) -> None:
    with database.features(name) as table, embedded.features(name) as expected:
        ids = np.random.default_rng(count).integers(0, table.num_rows, count)
        found = table.fetch(ids, decode=decode)
        out = np.empty_like(found)

        assert table.fetch(ids.tolist(), out, decode) is out

        wanted = expected.fetch(ids, decode=decode)
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize(
    "arguments",
    [
        ([0, NUM_NODES],),
        ([-1],),
        ([0.5],),
        ([[1]],),
        ([1], np.empty((1, 3), np.float32)),
        ([1, 2], np.empty((2, 4), np.float64)),
    ],
)
def test_a_fetch_is_refused_in_the_same_words(database: Database, embedded: Embedded, arguments: tuple[Any]) -> None:
    with database.features("x") as table, embedded.features("x") as expected:
        assert refusal(lambda: table.fetch(*arguments)) == refusal(lambda: expected.fetch(*arguments))


def test_a_fetch_ends_in_time(database: Database) -> None:
    stop = Stop()
    stop.set()
    with database.features("x") as table:
        for count in (1, 100_000):
            with pytest.raises(DeadlineExceeded):
                table.fetch(np.zeros(count, np.int64), timeout=0)
            with pytest.raises(Cancelled):
                table.fetch(np.zeros(count, np.int64), stop=stop)
        table.fetch(np.zeros(100_000, np.int64), timeout=60)


def test_a_table_goes_to_other_processes(database: Database) -> None:
    table = pickle.loads(pickle.dumps(database.features("x")))

    np.testing.assert_array_equal(table.fetch([3]), database.features("x").fetch([3]))


# ---- graphs


def test_a_graph_says_what_it_is(database: Database, embedded: Embedded) -> None:
    with database.graph("h") as graph, embedded.graph("h") as expected:
        for attribute in ("name", "version", "node_types", "edge_types"):
            assert getattr(graph, attribute) == getattr(expected, attribute)
        assert graph.num_nodes() == expected.num_nodes()
        assert graph.num_edges(CITES) == expected.num_edges(CITES)
        assert graph.statistics() == expected.statistics()
        assert refusal(lambda: graph.num_nodes("x")) == refusal(lambda: expected.num_nodes("x"))
        assert refusal(lambda: graph.num_edges(("a", "b", "c"))) == refusal(lambda: expected.num_edges(("a", "b", "c")))


@pytest.mark.parametrize(
    ("seeds", "fanouts", "sampling"),
    [
        (NodeSeeds(np.arange(90), "paper"), [5, 5], {"seed": 3}),
        (NodeSeeds([3, 3], "author"), {WRITES: [2, 2], CITES: [0, -1]}, {"disjoint": True}),
        (EdgeSeeds([[1, 2]], WRITES, negatives=3), [2], {"keep_edges": True, "labor": "per_hop"}),
    ],
)
def test_minibatches_are_drawn_as_embedded(
    database: Database, embedded: Embedded, seeds: Any, fanouts: Any, sampling: dict[str, Any]
) -> None:
    with database.graph("h") as graph, embedded.graph("h") as expected:
        for batch in range(3):
            found = graph.sample(seeds, fanouts, epoch=1, batch=batch, **sampling)
            same_minibatch(found, expected.sample(seeds, fanouts, epoch=1, batch=batch, **sampling))


@pytest.mark.parametrize(
    ("seeds", "fanouts", "sampling"),
    [
        ([NUM_NODES], [1], {}),
        ([-1], [1], {}),
        ([0.5], [1], {}),
        (NodeSeeds([0], "paper"), [1], {}),
        ([0], [1], {"seed": -1}),
        ([0], [1], {"labor": "maybe"}),
        ([0], [1], {"weighted": True, "temporal": "last"}),
        ([0], [{CITES: 1}], {}),
        ([0], {CITES: [1], WRITES: [1, 2]}, {}),
    ],
)
def test_drawing_is_refused_in_the_same_words(
    database: Database, embedded: Embedded, seeds: Any, fanouts: Any, sampling: dict[str, Any]
) -> None:
    with database.graph("g") as graph, embedded.graph("g") as expected:
        assert refusal(lambda: graph.sample(seeds, fanouts, **sampling)) == refusal(
            lambda: expected.sample(seeds, fanouts, **sampling)
        )


def test_an_unknown_option_is_a_type_error_as_embedded(database: Database) -> None:
    with database.graph("g") as graph, pytest.raises(TypeError, match="unexpected keyword"):
        graph.sample([0], [1], shuffle_neighbours=True)


# ---- plans


def test_a_plan_says_what_it_is(database: Database, embedded: Embedded) -> None:
    device = DeviceModel(1e5, 2e9)
    with database.plan("q") as plan, embedded.plan("q") as expected:
        for attribute in ("name", "version", "num_shards", "num_epochs"):
            assert getattr(plan, attribute) == getattr(expected, attribute)
        assert plan.explain() == expected.explain()
        assert plan.explain(device) == expected.explain(device)
        plan.check_current()
        for shard in range(2):
            for found, wanted in zip(plan.minibatches(shard), expected.minibatches(shard), strict=True):
                same_minibatch(found, wanted)


@pytest.mark.parametrize("options", [{"shard": 7}, {"slots": 1}, {"passes": 0}, {"shard": -1}])
def test_a_loader_is_refused_in_the_same_words(database: Database, embedded: Embedded, options: dict[str, int]) -> None:
    with database.plan("p") as plan, embedded.plan("p") as expected:
        assert refusal(lambda: plan.loader(**options)) == refusal(lambda: expected.loader(**options))


@pytest.mark.parametrize("kind", ["graph", "features", "plan"])
def test_what_is_missing_is_missed_in_the_same_words(database: Database, embedded: Embedded, kind: str) -> None:
    for call in (kind, f"drop_{kind}"):
        for name in ("nothing", "a/b"):
            found = refusal(lambda: getattr(database, call)(name))  # noqa: B023
            assert found == refusal(lambda: getattr(embedded, call)(name))  # noqa: B023


def test_what_is_closed_is_refused(database: Database) -> None:
    graph, table, plan = database.graph("g"), database.features("x"), database.plan("p")
    for opened in (graph, table, plan):
        opened.close()
        opened.close()

    for call in (lambda: graph.sample([0], [1]), lambda: table.fetch([0]), plan.loader, plan.explain):
        with pytest.raises(InvalidArgument, match="it is closed"):
            call()


def test_a_plan_whose_table_has_changed_is_stale(database: Database, embedded: Embedded) -> None:
    with embedded.features("x") as table:
        rows = table.fetch(np.arange(NUM_NODES))
    embedded.import_features("other", rows).wait()
    made_of = {"graph": "g", "features": "other", "seeds": [1, 2, 3], "fanouts": [2], "cache_memory": 0}
    embedded.create_plan("stale", **made_of).wait()
    plan = database.plan("stale")
    plan.check_current()

    embedded.import_features("other", rows).wait()

    with embedded.connection.root.open_version(embedded.connection.root.get("plans", "stale").id):
        assert refusal(plan.check_current) == refusal(lambda: embedded.plan("stale"))
        assert refusal(lambda: database.plan("stale")) == refusal(lambda: embedded.plan("stale"))
    embedded.drop_plan("stale")
    with pytest.raises(NotFound):
        plan.check_current()
    database.drop_features("other")
    assert embedded.feature_names() == ["a", "b", "x", "xq"]
