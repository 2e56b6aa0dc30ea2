"""Rows that a replayed plan keeps from the beginning of each pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.belady import belady_misses

import outcrop
from outcrop.embedded import Database
from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray

NUM_NODES, DEGREE, DIM = 3000, 6, 12
ROW_BYTES = 4 * DIM
ROWS = np.random.default_rng(1).standard_normal((NUM_NODES, DIM)).astype(np.float32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    sources = np.random.default_rng(0).random(NUM_NODES * DEGREE) ** 2 * NUM_NODES
    with outcrop.connect(tmp_path / "root", threads=2) as opened:
        graph = np.arange(0, NUM_NODES * DEGREE + 1, DEGREE), sources.astype(np.int64)
        opened.import_graph("graph", graph).wait()
        opened.import_features("rows", ROWS).wait()
        yield opened


def make_plan(database: Database, cache_rows: int, **options: Any) -> dict[str, Any]:
    seeds = np.arange(0, NUM_NODES, 7)
    job = database.create_plan(
        "plan",
        graph="graph",
        features="rows",
        seeds=seeds,
        fanouts=[4, 3],
        batch_size=64,
        cache_memory=cache_rows * ROW_BYTES,
        **options,
    )
    stream: dict[str, Any] = job.wait().properties["streams"][0]
    return stream


def loaded(database: Database, shard: int, passes: int) -> list[tuple[AnyArray, AnyArray]]:
    found = []
    with database.plan("plan") as plan, plan.loader(shard=shard) as loader:
        for _ in range(passes * plan.num_epochs):
            found += [(m.nodes["node"].copy(), m.features["rows"].copy()) for m in loader]
    return found


@pytest.mark.parametrize(("cache_rows", "num_shards"), [(1500, 1), (1500, 2), (NUM_NODES, 1)])
def test_pinned_rows_are_read_once_and_served_in_every_pass(
    database: Database, cache_rows: int, num_shards: int
) -> None:
    stream = make_plan(database, cache_rows, num_shards=num_shards, epochs=2)

    assert len(stream["pinned"]) == num_shards
    assert all(count > 0 for count, _ in stream["pinned"])
    requests = []
    for shard in range(num_shards):
        minibatches = loaded(database, shard, passes=3)
        for nodes, features in minibatches:
            assert np.array_equal(features, ROWS[nodes])
        requests.append([nodes for nodes, _ in minibatches[: len(minibatches) // 3]])
    cold = sum(belady_misses(shard, NUM_NODES, stream["num_slots"]) for shard in requests)
    assert stream["misses"] < 0.8 * cold
    with database.plan("plan") as plan:
        assert plan.verify().ok
        report = plan.explain().streams[0]
        assert report.rows_missed * 2 == stream["misses"]
        assert report.log_bytes * 2 == stream["log_bytes"] - sum(count for count, _ in stream["pinned"]) * ROW_BYTES


def test_a_loader_resumed_in_a_later_pass_has_the_pinned_rows(database: Database) -> None:
    make_plan(database, 1500)
    with database.plan("plan") as plan:
        with plan.loader() as first:
            for _ in range(9):
                first.next_minibatch()
            state = first.state_dict()
        with plan.loader() as second:
            second.load_state_dict(state)
            for _ in range(9):
                minibatch = second.next_minibatch()
                assert np.array_equal(minibatch.features["rows"], ROWS[minibatch.nodes["node"]])
                del minibatch


def test_filled_caches_are_no_place_for_pinned_rows(database: Database) -> None:
    make_plan(database, 1500)
    with database.plan("plan") as plan:
        with plan.loader(passes=1) as first:
            for _ in first:
                pass
            caches = first.take_caches()
        with pytest.raises(InvalidArgument, match="begins with pinned rows of its own"):
            plan.loader(passes=1, caches=caches)


def test_a_plan_for_one_pass_pins_nothing(database: Database) -> None:
    stream = make_plan(database, 1500, replayed=False)

    assert [tuple(pinned) for pinned in stream["pinned"]] == [(0, 0)]
    requests = [nodes for nodes, _ in loaded(database, 0, passes=1)]
    assert stream["misses"] == belady_misses(requests, NUM_NODES, stream["num_slots"])


def test_a_pinned_row_that_is_not_the_tables_is_found(database: Database) -> None:
    make_plan(database, 1500)
    with database.plan("plan") as plan:
        (stream,) = plan.properties.streams
        ((count, begin),) = stream.pinned
        # One row further on in the log: right bytes of a wrong row.
        moved = dataclasses.replace(stream, pinned=((count - 1, begin + ROW_BYTES),))
        plan.properties = dataclasses.replace(plan.properties, streams=(moved,))

        (problem,) = plan.verify().problems

    assert "log-0.blk: row of node" in str(problem)
