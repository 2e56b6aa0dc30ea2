"""Online minibatches are the sampler's, their rows the table's, whatever the tiers hold; budgets are kept."""

import gc
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.adapters.graphs import papers, random_graph

import outcrop
from outcrop import native
from outcrop.embedded import Database
from outcrop.errors import CorruptFile, InvalidArgument, ResourceExhausted
from outcrop.gnn_loader import FeatureTable, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.gnn_loader.online import OnlineLoader
from outcrop.types import AnyArray, OnlineOptions

NUM_NODES = 3000
SEEDS = NodeSeeds(np.arange(0, NUM_NODES, 3))
BATCHES = SeedBatches(SEEDS, 64, seed=4)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root") as database:
        yield database


@pytest.fixture
def sampler() -> NeighborSampler:
    return NeighborSampler(random_graph(0, NUM_NODES), [4, 3], seed=4)


def stored(database: Database, rows: AnyArray, codec: str = "raw", name: str = "x") -> FeatureTable:
    database.import_features(name, rows, codec=codec).wait()
    return database.features(name)


def rows_of(seed: int, *shape: int) -> AnyArray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check(loader: OnlineLoader, sampler: NeighborSampler, epoch: int, expected: dict[str, AnyArray]) -> int:
    """Compare an epoch with the sampler's and with NumPy; return how many minibatches it had."""
    number = 0
    for minibatch, drawn in zip(loader, sampler.sample_many(BATCHES, epoch=epoch), strict=True):
        number += 1
        assert (minibatch.epoch, minibatch.batch) == (epoch, drawn.batch)
        for name, rows in expected.items():
            node_type = name if name in drawn.nodes else "node"
            np.testing.assert_array_equal(minibatch.nodes[node_type], drawn.nodes[node_type])
            np.testing.assert_array_equal(minibatch.features[name], rows[drawn.nodes[node_type]])
    return number


@pytest.mark.parametrize("width", [1, 34, 512, 4096, 34_000])
@pytest.mark.parametrize(("cache", "victim_memory", "victim_disk"), [(0, 0, 0), (100, 0, 0), (50, 2 << 20, 4 << 20)])
def test_rows_are_the_tables(
    database: Database,
    sampler: NeighborSampler,
    tmp_path: Path,
    width: int,
    cache: int,
    victim_memory: int,
    victim_disk: int,
) -> None:
    rows = rows_of(1, NUM_NODES, width)
    extent = max(256 << 10, 17 * (width + 8) // 4096 * 4096)
    victim_memory = max(victim_memory, 6 * extent) if victim_memory else 0
    with_cache = native.TieredReader.memory_bytes(NUM_NODES, width, cache, 0)
    with (
        stored(database, rows) as table,
        OnlineLoader(
            sampler,
            BATCHES,
            {"x": table},
            cache_memory=with_cache + victim_memory,
            victim_memory=victim_memory,
            victim_disk=max(victim_disk, 6 * extent) if victim_disk else 0,
            scratch_folder=tmp_path,
            window=4,
        ) as loader,
    ):
        for epoch in range(2):
            assert check(loader, sampler, epoch, {"x": rows}) == len(BATCHES)
        found = loader.statistics()
        tiers = found.tiers["x"]
        assert tiers.rows == tiers.hot_rows + tiers.cache_rows + tiers.victim_rows + tiers.master_rows
        assert found.minibatches == 2 * len(BATCHES)
        assert (tiers.cache_rows > 0) == (cache > 0)
        assert (tiers.victim_rows > 0) == (victim_memory > 0)


@pytest.mark.parametrize("codec", ["float16", "bfloat16", "int8"])
def test_coded_rows_are_decoded(database: Database, sampler: NeighborSampler, codec: str) -> None:
    values = np.random.default_rng(3).standard_normal((NUM_NODES, 17)).astype(np.float32)
    with stored(database, values, codec) as table:
        expected = table.fetch(np.arange(NUM_NODES))
        with OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="300KiB", victim_memory=0) as loader:
            assert check(loader, sampler, 0, {"x": expected}) == len(BATCHES)


def test_tables_of_several_node_types_share_the_memory(database: Database) -> None:
    graph = papers(2)
    expected = {
        name: rows_of(number, count, 20 + 30 * number) for number, (name, count) in enumerate(graph.node_types.items())
    }
    node_type, count = next(iter(graph.node_types.items()))
    sampler = NeighborSampler(graph, [3, 3], seed=1)
    batches = SeedBatches(NodeSeeds(np.arange(count), node_type), 10, seed=2)
    tables = {name: stored(database, rows, name=name) for name, rows in expected.items()}
    with OnlineLoader(sampler, batches, tables, cache_memory="1MiB", victim_memory=0) as loader:
        for minibatch, drawn in zip(loader, sampler.sample_many(batches), strict=True):
            for name, rows in expected.items():
                np.testing.assert_array_equal(minibatch.features[name], rows[drawn.nodes[name]])
        assert set(loader.statistics().tiers) == set(expected)
    for table in tables.values():
        table.close()


@pytest.mark.parametrize("scores", ["sampled", "pagerank", "degree", "none"])
def test_every_kind_of_score_serves(database: Database, sampler: NeighborSampler, scores: Any) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    with (
        stored(database, rows) as table,
        OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB", victim_memory=0, scores=scores) as loader,
    ):
        assert check(loader, sampler, 0, {"x": rows}) == len(BATCHES)
        assert loader.statistics().tiers["x"].cache_rows > 0


def test_a_state_goes_on_in_the_middle_of_an_epoch(database: Database, sampler: NeighborSampler) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    with stored(database, rows) as table:
        make = lambda: OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB")  # noqa: E731
        with make() as one, make() as other:
            places = [(m.epoch, m.batch) for m in itertools.islice(one, 5)]
            state = one.state_dict()
            other.load_state_dict(state)
            assert state["position"] == 5
            assert [(m.epoch, m.batch) for m in other] == [(m.epoch, m.batch) for m in one]
            assert check(other, sampler, 1, {"x": rows}) == len(BATCHES)
            one.load_state_dict({"position": 2})  # and back
            assert next(iter(one)).batch == 2
            assert places == [(0, batch) for batch in range(5)]
            with pytest.raises(InvalidArgument, match="position"):
                one.load_state_dict({"position": -1})


def test_buffers_come_back_and_holding_all_is_refused(database: Database, sampler: NeighborSampler) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    with (
        stored(database, rows) as table,
        OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB", slots=3) as loader,
    ):
        held = list(itertools.islice(loader, 3))
        with pytest.raises(ResourceExhausted, match="all 3 minibatches"):
            next(iter(loader))
        kept = held.pop()
        copies = [minibatch.features["x"].copy() for minibatch in held]
        held.clear()
        gc.collect()
        assert [minibatch.batch for minibatch in itertools.islice(loader, 4)] == [3, 4, 5, 6]
        np.testing.assert_array_equal(kept.features["x"], rows[kept.nodes["node"]])  # nobody wrote over it
        assert not kept.features["x"].flags.writeable
        assert len(copies) == 2


def test_features_stay_valid_when_the_loader_has_closed(database: Database, sampler: NeighborSampler) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    before = threading.active_count()
    with stored(database, rows) as table:
        with OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB") as loader:
            minibatch = next(iter(loader))
        loader.close()
        assert threading.active_count() == before
        np.testing.assert_array_equal(minibatch.features["x"], rows[minibatch.nodes["node"]])
        with pytest.raises(InvalidArgument, match="closed"):
            next(iter(loader))


def test_a_forked_process_goes_on_by_itself(database: Database, sampler: NeighborSampler) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    with (
        stored(database, rows) as table,
        OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB") as loader,
    ):
        next(iter(loader))
        if (child := os.fork()) == 0:
            try:
                minibatch = next(iter(loader))
                right = minibatch.batch == 1 and np.array_equal(minibatch.features["x"], rows[minibatch.nodes["node"]])
                loader.load_state_dict({"position": 0})
            except BaseException:
                right = False
            os._exit(0 if right else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert next(iter(loader)).batch == 1


def test_damage_reaches_the_caller(database: Database, sampler: NeighborSampler) -> None:
    with stored(database, rows_of(1, NUM_NODES, 40)) as table:
        data = bytearray(table.file.path.read_bytes())
        data[4096:8192] = bytes(4096)
        table.file.path.write_bytes(data)
        with OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="80KiB") as loader:
            with pytest.raises(CorruptFile, match=r"rows\.blk"):
                list(loader)
            with pytest.raises(CorruptFile):
                next(iter(loader))


def test_what_cannot_work_is_refused(database: Database, sampler: NeighborSampler) -> None:
    with stored(database, rows_of(1, NUM_NODES, 40)) as table, stored(database, rows_of(1, 10, 4), name="y") as short:
        with pytest.raises(ResourceExhausted, match="tables for 3000 rows"):
            next(iter(OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory=1000)))
        with pytest.raises(InvalidArgument, match="10 rows"):
            OnlineLoader(sampler, BATCHES, {"y": short}, cache_memory="1MiB")
        with pytest.raises(InvalidArgument, match="found 'paper'"):
            OnlineLoader(sampler, BATCHES, {"x": table}, cache_memory="1MiB", node_types={"x": "paper"})
        for wrong in ({"window": 0}, {"slots": 1}, {"victim_disk": "1MiB"}, {"scores": "x"}, {"cache_memory": "much"}):
            with (
                pytest.raises(InvalidArgument),
                OnlineLoader(sampler, BATCHES, {"x": table}, **({"cache_memory": "1MiB"} | wrong)) as loader,
            ):
                next(iter(loader))


def test_an_epoch_without_minibatches_is_empty(database: Database, sampler: NeighborSampler) -> None:
    none = SeedBatches(NodeSeeds(np.empty(0, np.int64)), 64)
    with (
        stored(database, rows_of(1, NUM_NODES, 40)) as table,
        OnlineLoader(sampler, none, {"x": table}, cache_memory="1MiB") as loader,
    ):
        assert list(loader) == []
        assert loader.statistics().minibatches == 0


def test_without_a_word_the_scratch_file_may_take_as_much_as_the_features(
    database: Database, sampler: NeighborSampler, tmp_path: Path
) -> None:
    rows = rows_of(1, NUM_NODES, 2000)
    spilled = {}
    for folder in (None, tmp_path):
        with (
            stored(database, rows) as table,
            OnlineLoader(
                sampler,
                BATCHES,
                {"x": table},
                cache_memory="1200KiB",
                victim_memory="1MiB",
                scratch_folder=folder,
            ) as loader,
        ):
            check(loader, sampler, 0, {"x": rows})
            spilled[folder] = loader.statistics().tiers["x"].victim.peak_disk_bytes
    assert spilled[None] == 0
    assert 0 < spilled[tmp_path] <= rows.nbytes


def test_a_database_opens_one_with_its_graph_and_tables(database: Database, sampler: NeighborSampler) -> None:
    rows = rows_of(1, NUM_NODES, 40)
    csc = sampler.graph.csc(("node", "to", "node"))
    database.import_graph("graph", (csc.indptr, csc.indices)).wait()
    database.import_features("x", rows).wait()
    with database.online_loader(
        graph="graph",
        features="x",
        seeds=SEEDS.ids,
        fanouts=[4, 3],
        options=OnlineOptions(cache_memory="80KiB"),
        batch_size=64,
        seed=4,
    ) as loader:
        number = 0
        for minibatch in loader:
            number += 1
            np.testing.assert_array_equal(minibatch.features["x"], rows[minibatch.nodes["node"]])
        assert number == len(BATCHES)
