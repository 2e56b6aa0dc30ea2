"""Minibatches through a server are those of the engine: drawn, planned, online, fresh; from any position on."""

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from tests.gnn_loader.adapters.graphs import WRITES
from tests.server.graph_root import FANOUTS, NUM_NODES, PLAN, make_root, same_minibatch, train_seeds
from tests.server.rpc import Rpc
from tests.server.test_index_service import ended, upload
from tests.serving import Served, serving

import outcrop
from outcrop.embedded import Database
from outcrop.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from outcrop.gnn_loader import NeighborSampler, SeedBatches
from outcrop.proto.documents import from_document
from outcrop.proto.minibatches import IncomingMinibatch
from outcrop.proto.sampling import to_fanouts, to_options, to_seeds, to_spec
from outcrop.types import EdgeSeeds, GraphStatistics, LoaderStatistics, Minibatch, NodeSeeds, PlanReport
from outcrop.v1 import graph_pb2, plan_pb2
from outcrop.v1.sampling_pb2 import MinibatchSpec

BATCHES = {"batch_size": 64, "seed": 7, "shuffle": True, "drop_last": False}
PER_EPOCH = -(-NUM_NODES // 2 // 64)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("served") / "root"
    make_root(path)
    return path


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Served]:
    with serving(root, threads=1, memory="32MiB") as server:
        yield server


@pytest.fixture(scope="module")
def database(root: Path) -> Iterator[Database]:
    """The same root, embedded."""
    with outcrop.connect(root, read_only=True, memory="64MiB") as database:
        yield database


@pytest.fixture
def rpc(server: Served) -> Iterator[Rpc]:
    with Rpc(server.address) as rpc:
        yield rpc


def spec(**others: Any) -> MinibatchSpec:
    made_of = {"graph": "g", "features": "x", "seeds": train_seeds(), "fanouts": FANOUTS, "sampling": {"seed": 7}}
    return to_spec(batches=BATCHES, **(made_of | others))


def received(responses: Iterator[Any]) -> Iterator[tuple[Minibatch, int]]:
    incoming: IncomingMinibatch | None = None
    for response in responses:
        if response.HasField("header"):
            assert incoming is None or incoming.is_whole
            incoming = IncomingMinibatch(response.header)
        assert incoming is not None
        incoming.take(memoryview(response.data))
        if incoming.is_whole:
            yield incoming.minibatch(), incoming.next_position
    assert incoming is None or incoming.is_whole


def minibatches(rpc: Rpc, request: Message) -> list[Minibatch]:
    return [minibatch for minibatch, _ in received(rpc.stream(request))]


def planned(name: str = "p", **fields: Any) -> plan_pb2.StreamMinibatchesRequest:
    source = {key: fields.pop(key) for key in ("shard", "version", "id", "memory_bytes") if key in fields}
    return plan_pb2.StreamMinibatchesRequest(plan=plan_pb2.PlanSource(name=name, **source), **fields)


# ---- graphs


def test_a_graph_tells_what_it_is(rpc: Rpc, database: Database) -> None:
    graph = rpc.call(graph_pb2.GetGraphRequest(name="h")).graph

    assert {each.name: each.num_nodes for each in graph.node_types} == {"author": 40, "paper": 100}
    assert [each.edge_ids for each in graph.edge_types] == [True, True, True]
    assert [each.name for each in rpc.call(graph_pb2.ListGraphsRequest()).graphs] == ["g", "h"]
    document = rpc.call(graph_pb2.GetGraphStatisticsRequest(name="h")).statistics
    with database.graph("h") as embedded:
        assert from_document(document, GraphStatistics) == embedded.statistics()


@pytest.mark.parametrize(
    ("seeds", "fanouts", "sampling"),
    [
        (NodeSeeds([3, 1, 4, 1], "paper"), [3, 2], {"seed": 5}),
        (NodeSeeds([3, 1], "author"), [{WRITES: 2}, {}], {"disjoint": True, "keep_edges": True}),
        (EdgeSeeds([[1, 2], [3, 4]], WRITES, negatives=2), {WRITES: [2, -1]}, {"replace": True, "expand": "newcomers"}),
        (NodeSeeds([], "paper"), [1], {"labor": "shared"}),
    ],
)
def test_neighbours_are_drawn_as_embedded(
    rpc: Rpc, database: Database, seeds: Any, fanouts: Any, sampling: dict[str, Any]
) -> None:
    request = graph_pb2.SampleNeighborsRequest(
        graph="h", fanouts=to_fanouts(fanouts), options=to_options(sampling), epoch=2, batch=9, seeds=to_seeds(seeds)
    )

    [found] = minibatches(rpc, request)

    with database.graph("h") as graph:
        same_minibatch(found, graph.sample(seeds, fanouts, epoch=2, batch=9, **sampling))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seeds": to_seeds([600])}, "600"),
        ({"seeds": to_seeds(NodeSeeds([1], "nobody"))}, "nobody"),
        ({}, "expected nodes or links"),
        ({"seeds": to_seeds([1]), "options": to_options({"labor": "some"})}, "labor: expected one of"),
        ({"seeds": to_seeds([1]), "fanouts": to_fanouts([{("a", "b", "c"): 1}])}, "expected edge types among"),
        ({"seeds": to_seeds([1]), "fanouts": to_fanouts([1]) + to_fanouts([{}])}, "found both"),
    ],
)
def test_what_cannot_be_drawn_is_refused(rpc: Rpc, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        minibatches(rpc, graph_pb2.SampleNeighborsRequest(graph="g", **({"fanouts": to_fanouts([2])} | fields)))


def test_what_would_take_too_much_memory_is_not_drawn(rpc: Rpc) -> None:
    request = graph_pb2.SampleNeighborsRequest(
        graph="g", fanouts=to_fanouts([-1, -1, -1]), options=to_options({"disjoint": True}), seeds=to_seeds([1] * 500)
    )

    with pytest.raises(ResourceExhausted, match="a drawn minibatch"):
        minibatches(rpc, request)


# ---- plans


def test_a_plan_tells_what_it_is(rpc: Rpc, database: Database) -> None:
    plan = rpc.call(plan_pb2.GetPlanRequest(name="q")).plan

    assert (plan.version, plan.num_epochs, plan.stale) == (1, 2, "")
    with database.plan("q") as embedded:
        assert [tuple(shard.epochs) for shard in plan.shards] == list(embedded.layout.shards)
    report = from_document(
        rpc.call(plan_pb2.ExplainPlanRequest(name="p", iops=1e5, bytes_per_second=1e9)).report, PlanReport
    )
    assert (report.num_minibatches, report.device.iops) == (2 * PER_EPOCH, 1e5)


@pytest.mark.parametrize(("name", "shard"), [("p", 0), ("q", 0), ("q", 1)])
def test_minibatches_of_a_plan_are_its_own(rpc: Rpc, database: Database, name: str, shard: int) -> None:
    with database.plan(name) as plan, plan.loader(shard=shard) as loader:
        count = loader.num_minibatches + 2
        found = received(rpc.stream(planned(name, shard=shard, count=count)))
        for position, (minibatch, next_position) in enumerate(found):
            assert next_position == position + 1
            same_minibatch(minibatch, loader.next_minibatch())
        assert position == count - 1


@pytest.mark.parametrize("position", [1, PER_EPOCH - 1, PER_EPOCH, 2 * PER_EPOCH + 3])
def test_a_stream_goes_on_from_a_position(rpc: Rpc, database: Database, position: int) -> None:
    found = minibatches(rpc, planned(position=position, count=3))

    with database.plan("p") as plan, plan.loader() as loader:
        loader.load_state_dict(loader.state_dict() | {"position": position})
        for minibatch in found:
            same_minibatch(minibatch, loader.next_minibatch())
    assert len(found) == 3


def test_nodes_and_layers_come_without_features(rpc: Rpc, database: Database) -> None:
    found = minibatches(rpc, planned(without_features=True))

    with database.plan("p") as plan:
        for minibatch, expected in zip(found, plan.minibatches(), strict=True):
            same_minibatch(minibatch, expected)


def test_each_minibatch_brings_what_the_loader_has_done(rpc: Rpc) -> None:
    documents = [each.statistics for each in rpc.stream(planned(count=3)) if each.HasField("header")]

    counts = [from_document(document, LoaderStatistics).minibatches for document in documents]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (planned("nothing"), NotFound),
        (planned(version=2), NotFound),
        (planned(id="0123456789abcdef"), NotFound),
        (planned(shard=1), InvalidArgument),
        (planned(slots=1), InvalidArgument),
        (planned(memory_bytes=100), ResourceExhausted),
        (planned(slots=100_000), InvalidArgument),
        (plan_pb2.StreamMinibatchesRequest(), InvalidArgument),
    ],
)
def test_what_cannot_be_streamed_is_refused(rpc: Rpc, request_: Message, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        minibatches(rpc, request_)


def test_a_plan_is_made_by_a_job(rpc: Rpc, database: Database) -> None:
    upload(rpc, "seeds", ids=train_seeds())
    made_of = spec()
    made_of.seeds.nodes.upload_id = "seeds"
    made_of.seeds.nodes.ClearField("ids")
    request = plan_pb2.CreatePlanRequest(
        name="made", minibatches=made_of, epochs=2, cache_bytes=PLAN["cache_memory"], num_shards=1, replayed=True
    )

    ended(rpc, rpc.call(request).job)

    for found, expected in zip(
        minibatches(rpc, planned("made", count=PER_EPOCH)), minibatches(rpc, planned(count=PER_EPOCH)), strict=True
    ):
        same_minibatch(found, expected)
    rpc.call(plan_pb2.DeletePlanRequest(name="made"))
    with pytest.raises(NotFound):
        rpc.call(plan_pb2.GetPlanRequest(name="made"))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"minibatches": spec(graph="nothing")}, NotFound),
        ({"minibatches": spec(features={"paper": "x"})}, InvalidArgument),
        ({"name": "a/b"}, InvalidArgument),
        ({"epochs": 0}, InvalidArgument),
        ({"pack_bytes": 1 << 60}, ResourceExhausted),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_it_becomes_a_job(
    rpc: Rpc, changes: dict[str, Any], kind: type[Exception]
) -> None:
    fields = {"name": "r", "minibatches": spec(), "epochs": 1, "cache_bytes": 1000} | changes

    with pytest.raises(kind):
        rpc.call(plan_pb2.CreatePlanRequest(**fields))


# ---- online and fresh


def online(**fields: Any) -> plan_pb2.StreamMinibatchesRequest:
    source = plan_pb2.OnlineSource(
        minibatches=fields.pop("minibatches", spec()),
        cache_bytes=4 << 20,
        window=4,
        num_sampled=2,
        longest_group=2,
    )
    return plan_pb2.StreamMinibatchesRequest(online=source, **fields)


def drawn(database: Database, position: int, count: int) -> Iterator[Minibatch]:
    """The sampler's minibatches with NumPy's rows."""
    with database.graph("g") as graph, database.features("x") as table:
        sampler, batches = NeighborSampler(graph, FANOUTS, seed=7), SeedBatches(NodeSeeds(train_seeds()), **BATCHES)
        everything = itertools.chain.from_iterable(sampler.sample_many(batches, epoch=epoch) for epoch in range(9))
        for minibatch in itertools.islice(everything, position, position + count):
            rows = table.fetch(minibatch.nodes["node"])
            yield replace(minibatch, features={"x": rows})


@pytest.mark.parametrize("position", [0, PER_EPOCH + 2])
def test_online_minibatches_are_the_samplers(rpc: Rpc, database: Database, position: int) -> None:
    found = minibatches(rpc, online(position=position, count=PER_EPOCH))

    for minibatch, expected in zip(found, drawn(database, position, PER_EPOCH), strict=True):
        same_minibatch(minibatch, expected)


def fresh(name: str = "f", **fields: Any) -> plan_pb2.StreamFreshMinibatchesRequest:
    given = {"minibatches": spec(), "cache_bytes": 20 << 10, "pack_bytes": 16 << 20, "epochs": 2} | fields
    return plan_pb2.StreamFreshMinibatchesRequest(name=name, **given)


@pytest.mark.parametrize("position", [0, PER_EPOCH + 2])
def test_fresh_minibatches_hold_what_the_sampler_draws(rpc: Rpc, database: Database, position: int) -> None:
    found = minibatches(rpc, fresh(position=position))

    assert len(found) == 2 * PER_EPOCH - position
    for minibatch, expected in zip(found, drawn(database, position, len(found)), strict=True):
        np.testing.assert_array_equal(minibatch.seeds, expected.seeds)
        order, other = np.argsort(minibatch.nodes["node"]), np.argsort(expected.nodes["node"])
        np.testing.assert_array_equal(minibatch.nodes["node"][order], expected.nodes["node"][other])
        np.testing.assert_array_equal(minibatch.features["x"][order], expected.features["x"][other])
    with pytest.raises(NotFound):
        rpc.call(plan_pb2.GetPlanRequest(name="f"))


def test_a_fresh_plan_belongs_to_one_stream(rpc: Rpc) -> None:
    with closing(rpc.stream(fresh("mine", epochs=None))) as stream:
        next(stream)
        with pytest.raises(Unavailable, match="another stream makes its epochs"):
            minibatches(rpc, fresh("mine"))

    deadline = time.monotonic() + 20
    while True:  # until the server has noticed that the first one has left
        try:
            assert len(minibatches(rpc, fresh("mine"))) == 2 * PER_EPOCH
            break
        except Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (online(minibatches=spec(graph="nothing")), NotFound),
        (online(minibatches=spec(features={"node": "nothing"})), NotFound),
        (online(coded=True), InvalidArgument),
        (fresh(epochs=0), InvalidArgument),
        (fresh(pack_bytes=1 << 40), ResourceExhausted),
        (fresh(name="../f"), InvalidArgument),
        (fresh(slots=5000), InvalidArgument),
        (online(slots=1 << 31), InvalidArgument),
        (online(position=1 << 60), InvalidArgument),
        (online(minibatches=spec(fanouts=[1] * 33)), InvalidArgument),
        (online(minibatches=spec(fanouts=[10_000] * 3, sampling={"seed": 1, "replace": True})), ResourceExhausted),
    ],
)
def test_what_cannot_be_drawn_ahead_is_refused(rpc: Rpc, request_: Message, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        minibatches(rpc, request_)
