"""What is refused of graphs, tables and plans, and in which words; what is sound, and what is dropped."""

from typing import Any

import numpy as np
from tests.conformance.refusals import refusal

NUM_NODES = 50
RNG = np.random.default_rng(9)
EDGES = RNG.integers(0, NUM_NODES, (2, 300))
ROWS = RNG.random((NUM_NODES, 6), np.float32)
DRAWN: dict[str, Any] = {"graph": "g", "features": "x", "seeds": [1, 2, 3], "fanouts": [2]}


def filled(database: Any) -> Any:
    database.import_graph("g", EDGES, num_nodes=NUM_NODES).wait()
    database.import_features("x", ROWS).wait()
    return database


REFUSED: dict[str, Any] = {
    "no graph": lambda d: d.graph("none"),
    "no table": lambda d: d.features("none"),
    "no plan": lambda d: d.plan("none"),
    "drop no graph": lambda d: d.drop_graph("none"),
    "drop no table": lambda d: d.drop_features("none"),
    "verify a kind": lambda d: d.verify("trees", "x"),
    "verify none": lambda d: d.verify("graphs", "none"),
    "a node too far": lambda d: d.import_graph("b", np.array([[0, 9], [1, 2]]), num_nodes=5),
    "ids beyond": lambda d: d.features("x").fetch([NUM_NODES]),
    "ids of fractions": lambda d: d.features("x").fetch([1.5]),
    "codec": lambda d: d.import_features("y", ROWS, codec="zip"),
    "plan of no graph": lambda d: d.create_plan("p", **{**DRAWN, "graph": "none"}),
    "plan of no table": lambda d: d.create_plan("p", **{**DRAWN, "features": "none"}),
    "seeds beyond": lambda d: d.create_plan("p", **{**DRAWN, "seeds": [NUM_NODES]}),
    "batch size": lambda d: d.create_plan("p", **{**DRAWN, "batch_size": 0}),
    "name": lambda d: d.import_features("../y", ROWS),
}


def test_refusals_have_the_same_words(database: Any, reference: Any) -> None:
    found, expected = (
        {what: refusal(lambda place=place, call=call: call(place)) for what, call in REFUSED.items()}  # type: ignore[misc]
        for place in (filled(database), filled(reference))
    )

    assert found == expected


def test_what_is_stored_is_sound_until_it_is_dropped(database: Any, reference: Any) -> None:
    for place in (database, reference):
        filled(place)
    for kind, name in (("graphs", "g"), ("features", "x")):
        assert database.verify(kind, name) == reference.verify(kind, name)

    database.drop_graph("g")
    database.drop_features("x")

    assert database.stored_names() == []
    assert isinstance(database.gc(), list)
