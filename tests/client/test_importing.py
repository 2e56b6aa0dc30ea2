"""Graphs, rows and plans that are made through a server are those that are made beside it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tests.client.graphs import DRAWN
from tests.client.graphs import database as database
from tests.client.graphs import embedded as embedded
from tests.client.graphs import served as served
from tests.gnn_loader.adapters.graphs import papers
from tests.server.graph_root import same_minibatch
from tests.serving import serving

from outcrop.client import Database, Retries, connect, importing
from outcrop.embedded import Database as Embedded
from outcrop.errors import InvalidArgument, NotFound, OutcropError, ResourceExhausted
from outcrop.types import (
    NODE,
    NODE_TO_NODE,
    AnyArray,
    ArrayEdges,
    ArrayRows,
    CscArrays,
    CscEdgeArrays,
    EdgeBatch,
    GraphArrays,
    NodeSeeds,
    Progress,
)

RNG = np.random.default_rng(3)
ENDS = RNG.integers(0, 50, (2, 900))
WEIGHTS, TIMES = RNG.random(900, np.float32), RNG.integers(0, 9, 900)


class Batches:
    """Edges that come in batches, from nowhere that could be named."""

    num_edges = None
    form: Literal["coo"] = "coo"

    def batches(self) -> Iterator[EdgeBatch]:
        for start in range(0, 900, 250):
            part = slice(start, start + 250)
            yield EdgeBatch(ENDS[0, part], ENDS[1, part], weight=WEIGHTS[part], time=TIMES[part])


class Sliced:
    """An array that can only be sliced, such as a file's."""

    def __init__(self, array: AnyArray) -> None:
        self._array, self.shape = array, array.shape

    def __getitem__(self, part: slice) -> AnyArray:
        found: AnyArray = self._array[part]
        return found

    def __len__(self) -> int:
        return len(self._array)


def mixed() -> GraphArrays:
    graph = papers(3)
    edges = {edge_type: CscEdgeArrays(graph.csc(edge_type)) for edge_type in graph.edge_types}
    return GraphArrays(graph.node_types, edges, {"paper": np.arange(100)})


def sliced() -> GraphArrays:
    graph = papers(3)
    edges = {
        edge_type: CscEdgeArrays(CscArrays(*(None if each is None else Sliced(each) for each in graph.csc(edge_type))))
        for edge_type in graph.edge_types
    }
    return GraphArrays(graph.node_types, edges)


def coo(edges: Any) -> GraphArrays:
    return GraphArrays({NODE: 60}, {NODE_TO_NODE: edges})


SOURCES = {
    "edge index": lambda: ENDS,
    "pair": lambda: tuple(papers(3).csc(papers(3).edge_types[1])[:2]),
    "columns": lambda: coo(ArrayEdges(ENDS[0], ENDS[1], WEIGHTS, TIMES, np.arange(900)[::-1].copy())),
    "batches": lambda: coo(Batches()),
    "none": lambda: coo(ArrayEdges(ENDS[0, :0], ENDS[1, :0])),
    "types": mixed,
    "slices": sliced,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_graph_is_the_one_that_was_sent(database: Database, embedded: Embedded, kind: str) -> None:
    told: list[Progress] = []
    database.import_graph("sent", SOURCES[kind]()).wait(120, progress=told.append)
    embedded.import_graph("kept", SOURCES[kind]()).wait()

    with embedded.graph("sent") as sent, embedded.graph("kept") as kept:
        assert (sent.node_types, sent.edge_types) == (kept.node_types, kept.edge_types)
        for edge_type in kept.edge_types:
            for found, expected in zip(sent.csc(edge_type), kept.csc(edge_type), strict=True):
                np.testing.assert_array_equal(found, expected)
        for name in kept.node_types:
            np.testing.assert_array_equal(sent.node_times(name), kept.node_times(name))
    assert told[-1].fraction == 1
    database.drop_graph("sent")
    database.drop_graph("kept")


class Read:
    """Rows that are read, from nowhere that could be named."""

    num_rows, row_shape, dtype = 700, (3,), np.dtype(np.uint16)
    logical_dtype = "bfloat16"

    def read(self, start: int, stop: int) -> AnyArray:
        return np.arange(start * 3, stop * 3, dtype=np.uint16).reshape(-1, 3)


def mapped(path: Path) -> AnyArray:
    array = np.lib.format.open_memmap(path / "rows.npy", "w+", np.float32, (900, 2, 2))
    array[:] = RNG.random((900, 2, 2))
    array.flush()
    found: AnyArray = np.load(path / "rows.npy", mmap_mode="r")
    return found


@pytest.mark.parametrize(
    ("source", "codec"),
    [
        (RNG.random((30_000, 70)), "raw"),
        (RNG.random((500, 8), np.float32), "int8"),
        (RNG.integers(0, 9, (0, 4)), "raw"),
        (ArrayRows(np.arange(6, dtype=np.uint16).reshape(3, 2), "bfloat16"), "float32"),
        (Read(), "raw"),
        (np.arange(5), "raw"),
        (None, "float16"),
    ],
)
def test_a_table_is_the_one_that_was_sent(
    database: Database, embedded: Embedded, tmp_path: Path, source: Any, codec: str
) -> None:
    source = mapped(tmp_path) if source is None else source
    manifest = database.import_features("sent", source, codec=codec).wait(120)
    embedded.import_features("kept", source, codec=codec).wait()

    with embedded.features("sent") as sent, embedded.features("kept") as kept:
        assert (sent.codec, sent.num_rows, sent.version) == (kept.codec, kept.num_rows, manifest.version)
        np.testing.assert_array_equal(sent.fetch(np.arange(sent.num_rows)), kept.fetch(np.arange(kept.num_rows)))
    database.drop_features("sent")
    database.drop_features("kept")


def refusal(call: Any) -> tuple[type[OutcropError], str]:
    with pytest.raises(OutcropError) as raised:
        call()
    return type(raised.value), str(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.import_features("../r", np.zeros((1, 1))),
        lambda db: db.import_features("r", np.float32(1)),
        lambda db: db.import_features("r", np.zeros((2, 2)), codec="zip").wait(60),
        lambda db: db.import_features("r", np.full((2, 2), np.nan), codec="int8").wait(60),
        lambda db: db.import_features("r", np.zeros((2, 2)), memory="many"),
        lambda db: db.import_graph("r", np.zeros((3, 4), np.int64)),
        lambda db: db.import_graph("r", (np.array([0, 1]), np.array([0])), num_nodes=7),
        lambda db: db.import_graph("r", np.array([[0, 9], [1, 1]]), num_nodes=3).wait(60),
        lambda db: db.import_graph("r", np.array([[0.5, 1], [1, 1]]), num_nodes=3).wait(60),
    ],
)
def test_an_import_is_refused_in_the_same_words(database: Database, embedded: Embedded, call: Any) -> None:
    assert refusal(lambda: call(database)) == refusal(lambda: call(embedded))


# ---- plans


def test_a_plan_is_the_one_that_is_made_beside(database: Database, embedded: Embedded) -> None:
    job = database.create_plan("sent", **DRAWN, epochs=2, cache_memory=20 << 10)
    manifest = job.wait(120)

    with database.plan("sent") as sent, embedded.plan("p") as kept, sent.loader() as found, kept.loader() as expected:
        assert sent.version == manifest.version
        for _ in range(10):
            same_minibatch(found.next_minibatch(), expected.next_minibatch())
    database.drop_plan("sent")


def test_seeds_that_are_too_many_for_a_message_are_uploaded(
    database: Database, embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_MOST_SEED_BYTES", 100)
    with embedded.plan("p") as plan:
        expected = [minibatch.seeds for minibatch in plan.minibatches()]

    database.create_plan("sent", **DRAWN, epochs=2, cache_memory=20 << 10).wait(120)

    with database.plan("sent") as plan:
        for minibatch, seeds in zip(plan.minibatches(), expected, strict=True):
            np.testing.assert_array_equal(minibatch.seeds, seeds)
    database.drop_plan("sent")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"graph": "nothing"}, NotFound),
        ({"features": "nothing"}, NotFound),
        ({"features": {"paper": "x"}}, InvalidArgument),
        ({"features": {"node": "x", "other": "x"}}, InvalidArgument),
        ({"epochs": 0}, InvalidArgument),
        ({"num_shards": 0}, InvalidArgument),
        ({"num_shards": 9}, InvalidArgument),
        ({"batch_size": 0}, InvalidArgument),
        ({"seed": -1}, InvalidArgument),
        ({"fanouts": [-2]}, InvalidArgument),
        ({"labor": "x"}, InvalidArgument),
        ({"pack_memory": "1MiB"}, ResourceExhausted),
        ({"seeds": NodeSeeds([1], "paper")}, OutcropError),
        ({"seeds": [0.5]}, InvalidArgument),
    ],
)
def test_a_plan_is_refused_before_any_work_in_the_same_words(
    database: Database, embedded: Embedded, changes: dict[str, Any], kind: type[OutcropError]
) -> None:
    made_of: dict[str, Any] = DRAWN | {"cache_memory": 1000} | changes

    def words(made_in: Any) -> tuple[type[OutcropError], str]:
        return refusal(lambda: made_in.create_plan("r", **made_of).wait(60))

    found = words(database)

    assert found == words(embedded)
    assert issubclass(found[0], kind)


def test_the_same_import_again_makes_a_new_version(database: Database) -> None:
    rows = RNG.random((40_000, 16), np.float32)

    assert [database.import_features("again", rows).wait(120).version for _ in range(2)] == [1, 2]
    database.drop_features("again")


def test_an_import_goes_on_with_a_server_that_is_back(tmp_path: Path) -> None:
    rows = np.random.default_rng(8).random((300_000, 16), np.float32)
    patient = Retries(attempts=100, first_seconds=0.1, longest_seconds=0.5)
    with serving(tmp_path / "root", threads=1) as server, connect(server.url, retries=patient) as database:
        job = database.import_features("x", rows)
        while job.progress.fraction < 0.1:
            time.sleep(0.01)
        server.kill()
        with serving(server.path, threads=1, listen=server.address):
            job.wait(120)
            with database.features("x") as table:
                np.testing.assert_array_equal(table.fetch(np.arange(300_000)), rows)
