"""A plan: made, opened, loaded, explained, verified, refused."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.belady import belady_misses

import outcrop
from outcrop.embedded import Database
from outcrop.errors import Cancelled, InvalidArgument, NotFound, ResourceExhausted
from outcrop.gnn_loader import CscEdgeArrays, EdgeSeeds, GraphArrays, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.gnn_loader.planning.schedule import MissCurve
from outcrop.types import AnyArray, CscArrays, Progress

NUM_NODES, DEGREE, DIM = 3000, 6, 12
ROW_BYTES = 4 * DIM


def _rows(num_rows: int = NUM_NODES, seed: int = 1) -> AnyArray:
    return np.random.default_rng(seed).standard_normal((num_rows, DIM)).astype(np.float32)


def _topology(seed: int = 0) -> tuple[AnyArray, AnyArray]:
    chance = np.random.default_rng(seed)
    return np.arange(0, NUM_NODES * DEGREE + 1, DEGREE), (chance.random(NUM_NODES * DEGREE) ** 2 * NUM_NODES).astype(
        int
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root", threads=2) as opened:
        opened.import_graph("graph", _topology()).wait()
        opened.import_features("rows", _rows()).wait()
        yield opened


def _plan(database: Database, **options: Any) -> dict[str, Any]:
    given = {
        "graph": "graph",
        "features": "rows",
        "seeds": np.arange(0, NUM_NODES, 7),
        "fanouts": [4, 3],
        "batch_size": 64,
        "cache_memory": 300 * ROW_BYTES,
    }
    return database.create_plan("plan", **{**given, **options}).wait().properties


def _loaded(database: Database, shard: int = 0, passes: int = 1) -> list[Any]:
    """(epoch, batch, nodes, features, edges) of all minibatches, copied."""
    found = []
    with database.plan("plan") as plan, plan.loader(shard=shard) as loader:
        for _ in range(passes * plan.num_epochs):
            found += [
                (m.epoch, m.batch, m.nodes["node"].copy(), m.features["rows"].copy(), m.num_edges) for m in loader
            ]
    return found


def test_a_planned_minibatch_has_the_rows_of_its_nodes(database: Database) -> None:
    rows = _rows()

    _plan(database, epochs=2)

    minibatches = _loaded(database, passes=2)
    assert [(epoch, batch) for epoch, batch, *_ in minibatches] == [(e, b) for e in (0, 1) for b in range(7)] * 2
    for _, _, nodes, features, _ in minibatches:
        assert np.array_equal(features, rows[nodes])


def test_a_planned_minibatch_is_the_one_that_the_sampler_draws(database: Database) -> None:
    _plan(database, seed=5, labor="per_hop")

    with database.graph("graph") as graph:
        sampler = NeighborSampler(graph, [4, 3], seed=5, labor="per_hop")
        drawn = list(sampler.sample_many(SeedBatches(NodeSeeds(np.arange(0, NUM_NODES, 7)), 64, seed=5)))
    planned = _loaded(database)
    assert len(planned) == len(drawn)
    for (epoch, batch, nodes, _, num_edges), expected in zip(planned, drawn, strict=True):
        assert (epoch, batch, num_edges) == (expected.epoch, expected.batch, expected.num_edges)
        assert np.array_equal(np.sort(nodes), np.sort(expected.nodes["node"]))


@pytest.mark.parametrize("cache_rows", [0, 5, 300, NUM_NODES])
def test_caches_of_all_sizes_serve_the_same_rows(database: Database, cache_rows: int) -> None:
    properties = _plan(database, cache_memory=cache_rows * ROW_BYTES)

    (stream,) = properties["streams"]
    assert stream["num_slots"] <= cache_rows
    for _, _, nodes, features, _ in _loaded(database):
        assert np.array_equal(features, _rows()[nodes])


def test_minibatches_can_be_looked_at_without_their_rows(database: Database) -> None:
    _plan(database, num_shards=2, epochs=2)

    loaded = _loaded(database, shard=1)
    with database.plan("plan") as plan:
        found = list(plan.minibatches(shard=1))

    assert len(found) == len(loaded)
    for minibatch, (epoch, batch, nodes, _, num_edges) in zip(found, loaded, strict=True):
        assert (minibatch.epoch, minibatch.batch, minibatch.num_edges) == (epoch, batch, num_edges)
        assert np.array_equal(minibatch.nodes["node"], nodes)
        assert minibatch.features == {}


@pytest.mark.parametrize("row_bytes", [4, 100, 4096, 5000, 34_000])
def test_rows_of_any_width_are_bit_identical(database: Database, row_bytes: int) -> None:
    rows = np.random.default_rng(row_bytes).integers(0, 256, (NUM_NODES, row_bytes), dtype=np.uint8)
    database.import_features("rows", rows).wait()

    _plan(database, seeds=np.arange(150), batch_size=50, cache_memory=200 * row_bytes)

    for _, _, nodes, features, _ in _loaded(database, passes=2):
        assert np.array_equal(features, rows[nodes])
    with database.plan("plan") as plan:
        assert plan.verify().ok


def test_shards_deal_an_epoch_out(database: Database) -> None:
    _plan(database, num_shards=3, epochs=2)

    found = [[(epoch, batch) for epoch, batch, *_ in _loaded(database, shard)] for shard in range(3)]

    assert found[1] == [(0, 1), (0, 4), (1, 1), (1, 4)]
    assert sorted(itertools.chain(*found)) == [(e, b) for e in (0, 1) for b in range(7)]


def test_misses_are_those_of_an_optimal_cache(database: Database) -> None:
    properties = _plan(database, replayed=False)

    (stream,) = properties["streams"]
    requests = [nodes for _, _, nodes, *_ in _loaded(database)]
    assert stream["accesses"] == sum(map(len, requests))
    assert stream["misses"] == belady_misses(requests, NUM_NODES, stream["num_slots"])


def test_a_plan_of_a_typed_graph_caches_each_type(tmp_path: Path) -> None:
    links = CscEdgeArrays(CscArrays(*_topology()))
    typed = GraphArrays(
        {"user": NUM_NODES, "item": NUM_NODES},
        {("item", "bought by", "user"): links, ("user", "bought", "item"): links},
    )
    users, items = _rows(seed=2), _rows(seed=3).astype(np.float16)
    with outcrop.connect(tmp_path / "root") as database:
        database.import_graph("graph", typed).wait()
        database.import_features("users", users).wait()
        database.import_features("items", items).wait()
        tables = {"user": "users", "item": "items"}
        seeds = NodeSeeds(np.arange(200), "user")
        manifest = database.create_plan(
            "plan", graph="graph", features=tables, seeds=seeds, fanouts=[3, 3], batch_size=50, cache_memory=20_000
        ).wait()
        with database.plan("plan") as plan, plan.loader() as loader:
            for minibatch in loader:
                assert np.array_equal(minibatch.features["users"], users[minibatch.nodes["user"]])
                assert np.array_equal(minibatch.features["items"], items[minibatch.nodes["item"]])
            assert plan.verify().ok
    slots = {stream["name"]: stream["num_slots"] * stream["row_bytes"] for stream in manifest.properties["streams"]}
    assert 0 < sum(slots.values()) <= 20_000


def test_links_and_disjoint_trees_can_be_planned(database: Database) -> None:
    pairs = np.random.default_rng(4).integers(0, NUM_NODES, (100, 2))
    seeds = EdgeSeeds(pairs, negatives=1)

    _plan(database, seeds=seeds, batch_size=20, disjoint=True, expand="newcomers")

    with database.plan("plan") as plan, plan.loader() as loader:
        links = []
        for minibatch in loader:
            assert np.array_equal(minibatch.features["rows"], _rows()[minibatch.nodes["node"]])
            assert minibatch.labels is not None
            links += [tuple(pair) for pair in minibatch.seeds[minibatch.labels == 1].tolist()]
        assert sorted(links) == sorted(map(tuple, pairs.tolist()))
        assert plan.verify().ok


@pytest.mark.parametrize("codec", ["float16", "int8"])
def test_coded_rows_are_cached_and_logged_coded(database: Database, codec: str) -> None:
    database.import_features("rows", _rows(), codec=codec).wait()
    with database.features("rows") as table:
        expected = table.fetch(np.arange(NUM_NODES)).astype(np.float32)

    properties = _plan(database)

    assert properties["streams"][0]["row_bytes"] < ROW_BYTES
    for _, _, nodes, features, _ in _loaded(database):
        assert np.array_equal(features, expected[nodes])


def test_a_plan_explains_itself(database: Database) -> None:
    _plan(database, epochs=2)

    with database.plan("plan") as plan:
        report = plan.explain()

    (stream,) = report.streams
    assert "from the log" in str(report)
    assert report.num_epochs == 2
    assert report.num_minibatches == 14
    assert stream.cache_rows == 300
    assert stream.hit_ratio == pytest.approx(1 - stream.rows_missed / stream.rows_wanted)
    assert stream.curve.misses[0] == 2 * stream.rows_wanted
    assert MissCurve.of(stream.curve).misses_at(300) == pytest.approx(2 * stream.rows_missed, rel=0.01)
    assert report.read_seconds == pytest.approx(report.read_bytes / report.device.bandwidth)
    assert report.disk_multiple == pytest.approx(report.disk_bytes / (NUM_NODES * ROW_BYTES))


def test_a_plan_can_reckon_with_the_device_that_it_lies_on(database: Database) -> None:
    _plan(database)

    with database.plan("plan") as plan:
        device = plan.measured_device(0.1)
        report = plan.explain(device)

    assert report.device is device
    assert report.read_seconds == pytest.approx(report.read_bytes / device.bandwidth)


def test_a_plan_whose_graph_or_table_changed_is_refused(database: Database) -> None:
    _plan(database)
    database.import_features("rows", _rows(seed=9)).wait()
    with pytest.raises(InvalidArgument, match="stale: feature table 'rows' is at version 2, the plan was"):
        database.plan("plan")

    _plan(database)
    database.drop_graph("graph")
    with pytest.raises(InvalidArgument, match="stale: graph 'graph' is gone"):
        database.plan("plan")

    database.import_graph("graph", _topology()).wait()
    with pytest.raises(InvalidArgument, match="dropped and made anew"):
        database.plan("plan")


def test_a_damaged_plan_is_found_out(database: Database, tmp_path: Path) -> None:
    _plan(database)
    (log,) = (tmp_path / "root").rglob("log-0.blk")
    with log.open("r+b") as file:
        file.seek(4096 + 100)
        file.write(b"damage")

    with database.plan("plan") as plan:
        report = plan.verify()

    assert not report.ok
    assert "log-0.blk" in str(report.problems[0])


def test_a_disk_limit_is_told_before_rows_are_packed(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match=r"needs .* of disk .* the limit is 10,?000|needs .* the limit is"):
        _plan(database, disk=10_000)
    assert not list((tmp_path / "root").rglob("log-*.blk"))

    _plan(database, disk="1GiB")
    assert database.plan_names() == ["plan"]


def test_memory_in_which_nothing_can_be_planned_is_refused(database: Database) -> None:
    with pytest.raises(ResourceExhausted, match=r"expected at least 16\.0 MiB of memory for making it"):
        _plan(database, pack_memory="1MiB")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "none"}, "none"),
        ({"features": {"paper": "rows"}}, "expected node types of"),
        ({"num_shards": 8}, "num_shards: expected 1 to 7"),
        ({"epochs": 0}, "at least one epoch"),
        ({"seeds": []}, "at least one epoch with a minibatch"),
        ({"seeds": [NUM_NODES]}, str(NUM_NODES)),
        ({"batch_size": 0}, "batch_size"),
        ({"fanouts": [-2]}, "fanouts"),
        ({"cache_memory": -1}, "-1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(database: Database, options: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidArgument, NotFound), match=message):
        _plan(database, **options)


def test_a_cancelled_plan_goes_on_and_ends_in_the_same_bytes(database: Database, tmp_path: Path) -> None:
    _plan(database)
    expected = _contents(tmp_path)
    database.drop_plan("plan")
    stages = set()

    for stop in np.linspace(0.02, 0.99, 12):

        def stop_at(progress: Progress, stop: float = float(stop)) -> None:
            if progress.fraction >= stop:
                stages.add(progress.stage)
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            _run_planner(database, stop_at)
    _run_planner(database, lambda progress: None)

    assert {"sample", "schedule", "pack"} <= stages
    assert _contents(tmp_path) == expected


def _run_planner(database: Database, report: Any) -> None:
    """What `create_plan` does, in this thread and with a report of ours."""
    from outcrop import plans

    class Inline:
        def __init__(self, name: str, work: Any) -> None:
            work(report)

    before, plans.Job = plans.Job, Inline  # type: ignore[misc, assignment]
    try:
        database.create_plan(
            "plan",
            graph="graph",
            features="rows",
            seeds=np.arange(0, NUM_NODES, 7),
            fanouts=[4, 3],
            batch_size=64,
            cache_memory=300 * ROW_BYTES,
        )
    finally:
        plans.Job = before  # type: ignore[misc]


def _contents(tmp_path: Path) -> dict[str, bytes]:
    """The payloads and tables of a plan's files: everything but the headers, which have random ids."""
    return {path.name: path.read_bytes()[4096:] for path in (tmp_path / "root" / "plans").rglob("*.blk")}


def test_a_new_plan_of_the_name_replaces_the_old_one(database: Database) -> None:
    _plan(database, seed=1)
    with database.plan("plan") as held:
        _plan(database, seed=2)
        with database.plan("plan") as plan:
            assert plan.manifest.version == 2
        assert held.manifest.version == 1
        assert held.verify().ok
