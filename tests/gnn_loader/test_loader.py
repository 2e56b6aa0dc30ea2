"""A plan's minibatches come back as they were sampled, with rows that are those of the table, bit by bit."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.gnn_loader.plan_files import MadePlan, Table, make_plan, random_graph, raw_table, typed_graph
from tests.readers import skip_without

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, NotFound, ResourceExhausted
from outcrop.gnn_loader import EdgeSeeds, Minibatch, NeighborSampler, NodeSeeds
from outcrop.gnn_loader.codecs import make_codec
from outcrop.gnn_loader.loader import PlannedLoader
from outcrop.gnn_loader.plan_layout import PlanLayout
from outcrop.store import Root

NUM_NODES = 400


def simple_plan(
    root: Path, row_shape: tuple[int, ...] = (16,), dtype: str = "float32", **options: object
) -> tuple[MadePlan, dict[str, Table]]:
    tables = {"x": raw_table("node", NUM_NODES, row_shape, dtype, seed=1)}
    return make_plan(root, random_graph(NUM_NODES, 6, seed=2), tables, **options), tables  # type: ignore[arg-type]


def assert_same_structure(found: Minibatch, expected: Minibatch) -> None:
    assert (found.epoch, found.batch, found.seed_type) == (expected.epoch, expected.batch, expected.seed_type)
    assert found.link_src_type == expected.link_src_type
    for name, nodes in expected.nodes.items():
        np.testing.assert_array_equal(found.nodes[name], nodes)
        np.testing.assert_array_equal(found.hop_offsets[name], expected.hop_offsets[name])
    assert len(found.layers) == len(expected.layers)
    for layer, other in zip(found.layers, expected.layers, strict=True):
        assert (layer.hop, layer.edge_type) == (other.hop, other.edge_type)
        assert (layer.dst_begin, layer.dst_end) == (other.dst_begin, other.dst_end)
        np.testing.assert_array_equal(layer.indptr, other.indptr)
        np.testing.assert_array_equal(layer.indices, other.indices)
        assert (layer.edges is None) == (other.edges is None)
        if layer.edges is not None and other.edges is not None:
            np.testing.assert_array_equal(layer.edges, other.edges)
    np.testing.assert_array_equal(found.seeds, expected.seeds)
    assert (found.labels is None) == (expected.labels is None)
    assert (found.trees is None) == (expected.trees is None)


def assert_same_rows(found: Minibatch, tables: dict[str, Table]) -> None:
    """Bit by bit: what the codec gives back, and for raw rows what went in."""
    assert list(found.features) == list(tables)
    for name, table in tables.items():
        rows = table.codec.decode(table.coded[found.nodes[table.node_type]])
        assert found.features[name].dtype == rows.dtype
        assert found.features[name].shape == rows.shape
        assert found.features[name].tobytes() == rows.tobytes()


def check_all(loader: PlannedLoader, plan: MadePlan, tables: dict[str, Table], passes: int = 1) -> None:
    expected = plan.minibatches[loader.shard]
    for position in range(passes * len(expected)):
        minibatch = loader.next_minibatch()
        assert_same_structure(minibatch, expected[position % len(expected)])
        assert_same_rows(minibatch, tables)
        assert loader.position == position + 1


@pytest.mark.parametrize("reader", ["io_uring", "pread", "memory"])
@pytest.mark.parametrize("row_bytes", [4, 20, 400, 512, 1000, 4096, 6000, 34000])
def test_rows_of_every_width_are_those_of_the_table(tmp_path: Path, row_bytes: int, reader: str) -> None:
    skip_without(reader)
    plan, tables = simple_plan(tmp_path, (row_bytes // 4,))

    with PlannedLoader(plan.layout, reader=reader) as loader:
        check_all(loader, plan, tables)


@pytest.mark.parametrize(
    ("row_shape", "dtype"), [((3,), "uint8"), ((), "int64"), ((2, 5), "float16"), ((7,), "float64"), ((1,), "bool")]
)
def test_rows_keep_their_shape_and_dtype(tmp_path: Path, row_shape: tuple[int, ...], dtype: str) -> None:
    plan, tables = simple_plan(tmp_path, row_shape, dtype)

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables)


@pytest.mark.parametrize("cache_rows", [0, 1, 5, NUM_NODES])
@pytest.mark.parametrize("threads", [1, 2])
def test_caches_of_any_size_serve_every_row(tmp_path: Path, cache_rows: int, threads: int) -> None:
    plan, tables = simple_plan(tmp_path, cache_rows=cache_rows)

    with PlannedLoader(plan.layout, threads=threads) as loader:
        check_all(loader, plan, tables, passes=2)
        counts = loader.statistics().streams["x"]

    assert (counts.hit_rows > 0) == (cache_rows > 0)
    assert counts.hit_rows + counts.log_rows >= sum(len(m.nodes["node"]) for m in plan.minibatches[0]) * 2


@pytest.mark.parametrize("codec", ["float16", "bfloat16", "int8"])
def test_coded_rows_come_decoded_or_as_they_are(tmp_path: Path, codec: str) -> None:
    rows = np.random.default_rng(4).normal(size=(NUM_NODES, 33)).astype(np.float32)
    tables = {"x": Table("node", rows, make_codec(codec, (33,), rows.dtype, None))}
    plan = make_plan(tmp_path, random_graph(NUM_NODES, 6, seed=2), tables)

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables)
    with PlannedLoader(plan.layout, decode=False) as loader:
        minibatch = loader.next_minibatch()
        np.testing.assert_array_equal(minibatch.features["x"], tables["x"].coded[minibatch.nodes["node"]])


def test_several_node_types_and_tables(tmp_path: Path) -> None:
    counts = {"paper": 300, "author": 200, "venue": 5}
    edges = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "written_by", "author")]
    graph = typed_graph(counts, [*edges, ("venue", "prints", "paper")], 3, seed=6)
    tables = {
        "papers": raw_table("paper", 300, (128,), "float32", seed=7),
        "people": raw_table("author", 200, (5,), "int16", seed=8),
        "venues": raw_table("venue", 5, (2000,), "uint8", seed=9),
    }
    plan = make_plan(tmp_path, graph, tables, seeds=NodeSeeds(np.arange(90), "paper"))

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables, passes=2)


def test_links_disjoint_trees_and_kept_edges_come_back(tmp_path: Path) -> None:
    graph = random_graph(NUM_NODES, 6, seed=2)
    tables = {"x": raw_table("node", NUM_NODES, (8,), "float32", seed=1)}
    links = EdgeSeeds(np.random.default_rng(1).integers(0, NUM_NODES, (60, 2)), negatives=2)
    kept = NeighborSampler(graph, (3, 2), keep_edges=True)
    plan = make_plan(tmp_path, graph, tables, seeds=links, sampler=kept)
    assert plan.minibatches[0][0].labels is not None

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables)

    disjoint = NeighborSampler(graph, (3, 2), disjoint=True)
    plan = make_plan(tmp_path, graph, tables, sampler=disjoint, name="trees")
    assert plan.minibatches[0][0].trees is not None

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables)


def test_a_plan_without_tables_gives_minibatches_without_features(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, random_graph(NUM_NODES, 6, seed=2), {})

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, {})


def test_iterations_are_epochs_and_go_round(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path, epochs=3)
    per_epoch = len(plan.minibatches[0]) // 3

    with PlannedLoader(plan.layout) as loader:
        for turn in range(7):
            assert len(loader) == per_epoch
            numbers = []
            for minibatch in loader:
                assert_same_rows(minibatch, tables)
                numbers.append((minibatch.epoch, minibatch.batch))
            assert numbers == [(turn % 3, batch) for batch in range(per_epoch)]


def test_an_iteration_that_was_left_is_taken_up(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path)
    with PlannedLoader(plan.layout) as loader:
        for minibatch in loader:
            if minibatch.batch == 2:
                break

        rest = [minibatch.batch for minibatch in loader]

    assert rest == list(range(3, len(plan.minibatches[0]) // 2))


def test_one_minibatch_is_enough(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path, epochs=1, batch_size=1000)
    assert len(plan.minibatches[0]) == 1

    with PlannedLoader(plan.layout) as loader:
        check_all(loader, plan, tables, passes=4)


@pytest.mark.parametrize("num_shards", [2, 3])
def test_shards_share_the_minibatches_of_each_epoch(tmp_path: Path, num_shards: int) -> None:
    plan, tables = simple_plan(tmp_path, num_shards=num_shards)

    numbers = []
    for shard in range(num_shards):
        with PlannedLoader(plan.layout, shard=shard) as loader:
            check_all(loader, plan, tables)
            numbers += [(m.epoch, m.batch) for m in plan.minibatches[shard]]

    assert sorted(numbers) == [(epoch, batch) for epoch in range(2) for batch in range(6)]
    with pytest.raises(InvalidArgument, match=f"{num_shards} shards: expected 0 to"):
        PlannedLoader(plan.layout, shard=num_shards)


@pytest.mark.parametrize("position", [0, 1, 5, 11, 12, 17, 24])
def test_a_loader_goes_on_where_another_one_stood(tmp_path: Path, position: int) -> None:
    plan, tables = simple_plan(tmp_path, (300,), cache_rows=90)
    with PlannedLoader(plan.layout) as first:
        for _ in range(position):
            first.next_minibatch()
        state = first.state_dict()

    with PlannedLoader(plan.layout) as second:
        second.load_state_dict(state)

        for step in range(position, position + 14):
            minibatch = second.next_minibatch()
            assert_same_structure(minibatch, plan.minibatches[0][step % 12])
            assert_same_rows(minibatch, tables)
        if position % 12 > 1:
            assert second.statistics().streams["x"].hit_rows > 0


def test_the_state_of_another_plan_is_refused(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path)
    other, _ = simple_plan(tmp_path, name="other")
    loader = PlannedLoader(plan.layout)

    with pytest.raises(InvalidArgument, match="state of a loader"):
        loader.load_state_dict(PlannedLoader(other.layout).state_dict())
    for wrong in ({}, loader.state_dict() | {"position": -1}, loader.state_dict() | {"position": "3"}):
        with pytest.raises(InvalidArgument, match="state of a loader"):
            loader.load_state_dict(wrong)


def test_passes_end_and_caches_go_on_to_the_next_plan(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path, cache_rows=90)
    with PlannedLoader(plan.layout, passes=1) as loader:
        assert sum(1 for _ in range(2) for _ in loader) == len(plan.minibatches[0])
        assert list(loader) == []
        with pytest.raises(InvalidArgument, match="all minibatches of 1 passes"):
            loader.next_minibatch()
        (slab,) = loader.take_caches()
    cached = np.empty((90, 64), np.uint8)
    slab.fetch(np.arange(90, dtype=np.uint32), cached)
    stored = {row.tobytes() for row in tables["x"].rows}
    assert sum(row.tobytes() in stored for row in cached) > 45

    with PlannedLoader(plan.layout, passes=1, caches=[slab]) as second:
        check_all(second, plan, tables)  # a plan that asks nothing of a filled cache
    with pytest.raises(InvalidArgument, match=r"expected slots and bytes of \[\(90, 64\)\] and one pass"):
        PlannedLoader(plan.layout, caches=[slab])
    with pytest.raises(InvalidArgument, match="found \\[\\(3, 64\\)\\]"):
        PlannedLoader(plan.layout, passes=1, caches=[native.RowSlab(3, 64)])
    with pytest.raises(InvalidArgument, match="passes: expected at least 1"):
        PlannedLoader(plan.layout, passes=0)
    middle = PlannedLoader(plan.layout, passes=1)
    middle.next_minibatch()
    with pytest.raises(InvalidArgument, match="when all minibatches of all passes are loaded"):
        middle.take_caches()
    middle.close()


def test_arrays_stay_valid_while_they_are_held(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path)
    loader = PlannedLoader(plan.layout)
    rows = loader.next_minibatch().features["x"]
    nodes = loader.next_minibatch().nodes["node"]

    for _ in range(8):
        loader.next_minibatch()
    loader.close()
    del loader
    gc.collect()

    assert rows.tobytes() == tables["x"].rows[plan.minibatches[0][0].nodes["node"]].tobytes()
    np.testing.assert_array_equal(nodes, plan.minibatches[0][1].nodes["node"])


def test_holding_all_slots_is_refused_and_letting_one_go_helps(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path)
    with PlannedLoader(plan.layout, slots=3) as loader:
        held = [loader.next_minibatch() for _ in range(3)]

        with pytest.raises(ResourceExhausted, match="all 3 slots hold minibatches"):
            loader.next_minibatch()
        del held[1]

        assert_same_rows(loader.next_minibatch(), tables)
        assert_same_rows(held[0], tables)


def test_the_budget_is_kept_or_refused(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path, (1000,))

    with pytest.raises(ResourceExhausted, match="minibatch slots asked for"):
        PlannedLoader(plan.layout, memory=3 << 20).next_minibatch()
    with PlannedLoader(plan.layout, memory=16 << 20) as loader:
        loader.next_minibatch()
        assert loader.statistics().memory_bytes < 16 << 20
    with pytest.raises(InvalidArgument, match="slots: expected at least 2"):
        PlannedLoader(plan.layout, slots=1)
    with pytest.raises(InvalidArgument, match="threads: expected at least 1"):
        PlannedLoader(plan.layout, threads=0)


def test_statistics_count_rows_of_each_tier_and_bytes_of_the_device(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path, (128,))
    loader = PlannedLoader(plan.layout)
    assert loader.statistics().minibatches == 0

    with loader:
        for _ in loader:
            continue
        found = loader.statistics()

    assert found.minibatches == 6
    assert found.streams["x"].row_bytes == 512
    wanted = sum(len(m.nodes["node"]) for m in plan.minibatches[0])
    assert 0 < found.streams["x"].log_rows < wanted
    assert 0 < found.streams["x"].inserted_rows < found.streams["x"].log_rows
    assert found.device_bytes > found.streams["x"].log_rows * 512
    assert 0 <= found.mean_ready <= 3


@pytest.mark.parametrize("name", ["log-0.blk", "minibatches.blk", "offsets.blk"])
def test_damage_is_told_with_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    plan, _ = simple_plan(tmp_path, (128,))
    path = plan_folder(plan) / name
    image = bytearray(path.read_bytes())
    image[4096 + 9] ^= 4
    path.write_bytes(image)

    with PlannedLoader(plan.layout) as loader, pytest.raises(CorruptFile, match=f"{name}: block 1"):
        load_all(loader)


def test_a_record_of_another_plan_is_refused_though_its_checksums_are_right(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path, cache_rows=300)
    layout = replace_stream(plan, num_slots=3)

    with PlannedLoader(layout) as loader, pytest.raises(CorruptFile, match=r"minibatches\.blk: record .* slot"):
        load_all(loader)


def test_a_plan_that_is_gone_is_not_found(tmp_path: Path) -> None:
    plan, _ = simple_plan(tmp_path)
    with Root.open(tmp_path) as root:
        root.drop("plans", "plan")
        root.gc()

    with pytest.raises(NotFound):
        PlannedLoader(plan.layout).next_minibatch()


def test_a_loader_travels_to_another_process_before_and_during_its_use(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path)
    fresh = pickle.loads(pickle.dumps(PlannedLoader(plan.layout)))
    with fresh:
        check_all(fresh, plan, tables)
        with pickle.loads(pickle.dumps(fresh)) as copy:
            assert copy.position == fresh.position
            assert_same_rows(copy.next_minibatch(), tables)


def test_a_forked_child_opens_its_own_and_leaves_the_parents_alone(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path)
    with PlannedLoader(plan.layout, reader="pread") as loader:
        held = loader.next_minibatch()

        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(20)
                second = loader.next_minibatch()
                assert_same_structure(second, plan.minibatches[0][1])
                assert_same_rows(second, tables)
                loader.close()
                code = 0
            finally:
                os._exit(code)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert_same_rows(held, tables)
        assert_same_structure(loader.next_minibatch(), plan.minibatches[0][1])


def test_minibatches_are_given_to_other_threads_and_let_go_there(tmp_path: Path) -> None:
    plan, tables = simple_plan(tmp_path)
    errors: list[BaseException] = []

    def check(minibatch: Minibatch) -> None:
        try:
            assert_same_rows(minibatch, tables)
        except AssertionError as error:
            errors.append(error)

    with PlannedLoader(plan.layout, slots=4) as loader:
        running: list[threading.Thread] = []
        for _ in range(50):
            running.append(threading.Thread(target=check, args=(loader.next_minibatch(),)))
            running[-1].start()
            if len(running) == 3:
                running.pop(0).join()
        for thread in running:
            thread.join()

    assert errors == []


def load_all(loader: PlannedLoader) -> None:
    for _ in range(loader.num_minibatches):
        loader.next_minibatch()


def plan_folder(plan: MadePlan) -> Path:
    with Root.open(plan.layout.root) as root, root.open_version(plan.layout.plan_id) as lease:
        return lease.folder


def replace_stream(plan: MadePlan, num_slots: int) -> PlanLayout:
    stream = dataclasses.replace(plan.layout.streams[0], num_slots=num_slots)
    return dataclasses.replace(plan.layout, streams=(stream,))
