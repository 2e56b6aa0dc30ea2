"""Graphs, tables, plans and loaders of a server, for tasks."""

import asyncio
from typing import Any

import numpy as np
import pytest
from tests.client.graphs import DRAWN
from tests.client.graphs import embedded as embedded
from tests.client.graphs import served as served
from tests.gnn_loader.adapters.graphs import CITES
from tests.server.graph_root import same_minibatch
from tests.serving import Served

from outcrop.client import parse_endpoint
from outcrop.client.async_channel import AsyncChannel
from outcrop.client.async_graph_database import AsyncGraphDatabase
from outcrop.embedded import Database as Embedded
from outcrop.errors import DeadlineExceeded, InvalidArgument, NotFound
from outcrop.types import NodeSeeds, OnlineOptions


class Graphs(AsyncGraphDatabase):
    def __init__(self, url: str) -> None:
        self._channel = AsyncChannel(parse_endpoint(url))

    async def __aenter__(self) -> "Graphs":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


def test_tasks_fetch_and_draw_at_once(served: Served, embedded: Embedded) -> None:
    ids = [np.random.default_rng(count).integers(0, 600, count) for count in (0, 3, 50_000, 100_000)]
    seeds = NodeSeeds([5, 6], "paper")

    async def work() -> tuple[Any, ...]:
        async with Graphs(served.url) as database:
            assert await database.graph_names() == ["g", "h"]
            assert await database.feature_names() == ["a", "b", "x", "xq"]
            assert await database.plan_names() == ["p", "q"]
            async with await database.features("x") as table, await database.graph("h") as graph:
                rows = await asyncio.gather(*(table.fetch(some) for some in ids))
                drawn = await asyncio.gather(*(graph.sample(seeds, [2, 2], batch=batch) for batch in range(3)))
                assert graph.num_edges(CITES) == (await graph.statistics()).edges[CITES].num_edges
                with pytest.raises(DeadlineExceeded):
                    await table.fetch(ids[3], timeout=0)
            with pytest.raises(InvalidArgument, match="it is closed"):
                await table.fetch([0])
            with pytest.raises(NotFound):
                await database.graph("nothing")
            return rows, drawn

    rows, drawn = asyncio.run(work())

    with embedded.features("x") as table, embedded.graph("h") as graph:
        for some, found in zip(ids, rows, strict=True):
            np.testing.assert_array_equal(found, table.fetch(some))
        for batch, minibatch in enumerate(drawn):
            same_minibatch(minibatch, graph.sample(seeds, [2, 2], batch=batch))


def test_loaders_are_awaited(served: Served, embedded: Embedded) -> None:
    async def work() -> list[list[Any]]:
        async with Graphs(served.url) as database:
            plan = await database.plan("p")
            await plan.check_current()
            loaders = [
                plan.loader(),
                await database.online_loader(**DRAWN, options=OnlineOptions("4MiB", window=3, num_sampled=2)),
                await database.fresh_loader("tasks", **DRAWN, cache_memory=0, pack_memory="16MiB", epochs=1),
            ]
            found = []
            for loader in loaders:
                async with loader:
                    found.append([minibatch async for minibatch in loader])
                    assert (await loader.statistics()) is not None
            found.append([minibatch async for minibatch in plan.minibatches()])
            async with plan.minibatches() as some:
                await anext(some)
            assert await plan.explain() == report
            return found

    with embedded.plan("p") as plan:
        report = plan.explain()
        expected = list(plan.minibatches())
    planned, online, fresh, bare = asyncio.run(work())

    assert [len(planned), len(online), len(fresh), len(bare)] == [5, 5, 5, 10]
    for found, wanted in zip(bare, expected, strict=True):
        same_minibatch(found, wanted)
    with embedded.plan("p") as plan, plan.loader() as loader:
        for found in planned:
            same_minibatch(found, loader.next_minibatch())


def test_a_task_that_is_cancelled_loses_no_minibatch(served: Served) -> None:
    async def work() -> list[int]:
        async with Graphs(served.url) as database, (await database.plan("p")).loader() as loader:
            found = []
            for _ in range(5):
                waiting = asyncio.ensure_future(loader.next_minibatch())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                found.append((await loader.next_minibatch()).batch)
            return found

    assert asyncio.run(work()) == [0, 1, 2, 3, 4]


def test_tasks_make_graphs_tables_and_plans(served: Served, embedded: Embedded) -> None:
    rows = np.random.default_rng(2).random((60, 8), np.float32)
    edges = np.random.default_rng(3).integers(0, 60, (2, 500))

    async def work() -> list[Any]:
        async with Graphs(served.url) as database:
            jobs = await asyncio.gather(
                database.import_graph("tg", edges, num_nodes=60), database.import_features("tx", rows)
            )
            for job in jobs:
                await job.wait(120)
            made_of: dict[str, Any] = {"graph": "tg", "features": "tx", "seeds": np.arange(60), "fanouts": [3]}
            with pytest.raises(InvalidArgument, match="num_shards"):
                await database.create_plan("tp", **made_of, num_shards=0)
            with pytest.raises(NotFound):
                await database.create_plan("tp", **(made_of | {"graph": "nothing"}))
            await (await database.create_plan("tp", **made_of, batch_size=16, cache_memory=0)).wait(120)
            async with (await database.plan("tp")).loader() as loader:
                found = [minibatch async for minibatch in loader]
            async with await database.features("tx") as table:
                await table.fetch([1, 2, 3])
                assert (await table.statistics()).rows >= 3
            await database.drop_plan("tp")
            await database.drop_features("tx")
            await database.drop_graph("tg")
            return found

    for minibatch in asyncio.run(work()):
        np.testing.assert_array_equal(minibatch.features["tx"], rows[minibatch.nodes["node"]])
    assert embedded.graph_names() == ["g", "h"]
