"""A database for tasks: what it answers is what the synchronous one answers."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop import embedded
from outcrop.asynchronous import AsyncCollection, AsyncDatabase
from outcrop.collection import Collection
from outcrop.embedded import Database
from outcrop.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from outcrop.stop import Stop
from outcrop.types import Progress

NUM_ROWS, DIM = 500, 8


def some_rows(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((NUM_ROWS, DIM)).astype(np.float32)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A root with a collection, a graph and a table."""
    path = tmp_path / "root"
    with outcrop.connect(path, memory="64MiB") as database:
        database.create_collection("docs", dim=DIM).build(some_rows()).wait()
        edges = np.random.default_rng(2).integers(0, NUM_ROWS, (2, 3000))
        database.import_graph("papers", edges, num_nodes=NUM_ROWS).wait()
        database.import_features("x", some_rows(3)).wait()
    return path


def test_many_tasks_search_at_once(stored: Path) -> None:
    queries = some_rows(7)[:40]
    with outcrop.connect(stored) as database:
        expected = database.collection("docs").search(queries, k=5)

    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            docs = await database.collection("docs")
            found = await asyncio.gather(*(docs.search(query, k=5) for query in queries))
        assert np.array_equal(np.concatenate([each.ids for each in found]), expected.ids)

    asyncio.run(program())


def test_a_collection_is_made_built_scanned_verified_and_dropped(tmp_path: Path) -> None:
    told: list[tuple[Progress, threading.Thread]] = []
    tell: Callable[[Progress], None] = lambda progress: told.append((progress, threading.current_thread()))  # noqa: E731

    async def program() -> None:
        async with outcrop.connect_async(tmp_path / "root", memory="64MiB") as database:
            docs = await database.create_collection("docs", dim=DIM)
            with pytest.raises(NotFound):
                await docs.search(some_rows()[0])
            job = await docs.build(some_rows(), np.arange(NUM_ROWS) + 1000)
            manifest = await job.wait(progress=tell)
            assert (manifest.version, job.done, job.progress.stage) == (1, True, "done")
            assert (docs.name, docs.spec.dim, await docs.count()) == ("docs", DIM, NUM_ROWS)
            assert (await docs.info()).version == 1
            async with docs.scan(batch_rows=300) as scan:
                batches = [batch async for batch in scan]
                assert (scan.row, scan.num_rows, scan.version) == (NUM_ROWS, NUM_ROWS, 1)
            assert sorted(np.concatenate([ids for ids, _ in batches])) == list(range(1000, 1000 + NUM_ROWS))
            report = await docs.verify(progress=tell)
            assert report.problems == ()
            assert await database.collection_names() == ["docs"]
            await database.drop_collection("docs")
            assert await database.list_collections() == []

    asyncio.run(program())

    assert told[-1][0].fraction > 0.9
    assert {thread for _, thread in told} == {threading.main_thread()}


def test_graphs_tables_and_plans_answer_as_ever(stored: Path) -> None:
    seeds, ids = np.arange(0, NUM_ROWS, 5), [3, 1, 3]
    with outcrop.connect(stored) as database, database.graph("papers") as graph, database.features("x") as table:
        drawn, rows = graph.sample(seeds, [3, 2], epoch=4), table.fetch(ids)

    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            async with await database.graph("papers") as graph, await database.features("x") as table:
                assert (graph.name, graph.version, graph.num_nodes(), graph.num_edges()) == ("papers", 1, 500, 3000)
                assert (await graph.sample(seeds, [3, 2], epoch=4)).num_edges == drawn.num_edges
                assert (table.num_rows, table.row_shape, table.dtype) == (NUM_ROWS, (DIM,), np.float32)
                assert np.array_equal(await table.fetch(ids), rows)
                assert (await table.statistics()).rows == 3
                assert (await graph.statistics()).num_nodes == {"node": NUM_ROWS}
            asked: dict[str, Any] = {"graph": "papers", "features": "x", "seeds": seeds, "fanouts": [3, 2]}
            await (await database.create_plan("plan", batch_size=20, **asked)).wait()
            async with await database.plan("plan") as plan, plan.loader() as loader:
                assert (await plan.explain()).num_minibatches == plan.num_shards * len(loader) == 5
                assert [minibatch.batch async for minibatch in loader] == [0, 1, 2, 3, 4]
                assert len([minibatch async for minibatch in plan.minibatches()]) == 5
            assert await database.stored_names() == [("graphs", "papers"), ("features", "x"), ("plans", "plan")]
            assert (await database.verify("graphs", "papers")).problems == ()

    asyncio.run(program())


def test_a_snapshot_is_made_and_read(stored: Path, tmp_path: Path) -> None:
    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            made = await database.create_snapshot("monday")
            assert await database.list_snapshots() == [made]
            written = await (await database.export_snapshot("monday", tmp_path / "archive")).wait()
            async with await database.snapshot_archive("monday") as archive:
                assert (archive.size_bytes, archive.etag) == (written.size_bytes, written.etag)
                assert await archive.read(0, archive.size_bytes) == (tmp_path / "archive").read_bytes()
            assert (await (await database.verify_snapshot("monday")).wait()).problems == ()
            await database.delete_snapshot("monday")

    asyncio.run(program())


def test_nothing_is_opened_before_it_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "root"

    async def program() -> None:
        database = outcrop.connect_async(path)
        assert not path.exists()
        assert await database.collection_names() == []
        assert path.exists()
        await database.close()
        await database.close()
        with pytest.raises(InvalidArgument, match="it is closed"):
            await database.collection_names()

    asyncio.run(program())


def test_awaiting_a_database_opens_it(stored: Path) -> None:
    async def program() -> None:
        database: AsyncDatabase = await outcrop.connect_async(stored)
        assert await database.graph_names() == ["papers"]
        await database.close()

    asyncio.run(program())


def test_what_connect_refuses_is_refused_on_entering(tmp_path: Path) -> None:
    async def program() -> None:
        with pytest.raises(NotFound):
            async with outcrop.connect_async(tmp_path / "nowhere", create=False):
                pass

    asyncio.run(program())


def test_a_root_that_is_opened_for_a_cancelled_task_is_closed_again(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, let_go = threading.Event(), threading.Event()
    opened: list[Database] = []
    closed: list[Database] = []
    connect, close = embedded.connect, Database.close

    def slowly(*arguments: Any, **options: Any) -> Database:
        started.set()
        let_go.wait(10)
        opened.append(connect(*arguments, **options))
        return opened[0]

    def closing(self: Database) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(embedded, "connect", slowly)
    monkeypatch.setattr(Database, "close", closing)

    async def enter() -> None:
        async with outcrop.connect_async(stored):
            pytest.fail("the task was cancelled before")

    async def program() -> None:
        entering = asyncio.ensure_future(enter())
        assert await asyncio.to_thread(started.wait, 10)
        entering.cancel()
        threading.Timer(0.02, let_go.set).start()
        with pytest.raises(asyncio.CancelledError):
            await entering

    asyncio.run(program())

    assert len(opened) == 1
    assert closed == opened


def test_a_database_may_go_from_one_event_loop_to_another(stored: Path) -> None:
    database = outcrop.connect_async(stored)

    assert asyncio.run(database.graph_names()) == ["papers"]
    assert asyncio.run(database.feature_names()) == ["x"]
    asyncio.run(database.close())


def test_a_timeout_of_nothing_fails_and_the_next_call_works(stored: Path) -> None:
    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            docs = await database.collection("docs")
            with pytest.raises(DeadlineExceeded):
                await docs.search(some_rows()[0], timeout=0)
            async with await database.features("x") as table:
                with pytest.raises(DeadlineExceeded):
                    await table.fetch([1], timeout=0)
            assert (await docs.search(some_rows()[0], k=1, timeout=60)).ids.tolist() == [[0]]

    asyncio.run(program())


def test_a_cancelled_task_ends_its_search(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = threading.Event(), threading.Event()
    search = Collection.search

    def endless(self: Collection, *arguments: Any, stop: Stop, **options: Any) -> Any:
        started.set()
        try:
            while True:
                stop.check()
                time.sleep(0.001)
        finally:
            ended.set()

    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            docs = await database.collection("docs")
            monkeypatch.setattr(Collection, "search", endless)
            searching = asyncio.ensure_future(docs.search(some_rows()[0]))
            assert await asyncio.to_thread(started.wait, 10)
            searching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await searching
            assert ended.is_set()
            monkeypatch.setattr(Collection, "search", search)
            assert (await docs.search(some_rows()[0], k=1)).ids.tolist() == [[0]]

    asyncio.run(program())


def test_a_cancelled_task_ends_its_verification(stored: Path) -> None:
    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            docs = await database.collection("docs")
            for verifying in (docs.verify, lambda progress: database.verify("graphs", "papers", progress=progress)):
                told = asyncio.Event()
                task = asyncio.ensure_future(verifying(progress=lambda _, told=told: told.set()))
                await told.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert (await docs.verify()).problems == ()

    asyncio.run(program())


def test_waiting_for_a_job_ends_and_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def source(_: Any) -> Any:
        def batches() -> Any:
            let_go.wait(10)
            yield some_rows()

        return batches()

    async def program() -> None:
        async with outcrop.connect_async(tmp_path / "root", memory="64MiB") as database:
            docs = await database.create_collection("docs", dim=DIM)
            job = await docs.build(source(None))
            with pytest.raises(Unavailable, match=r"not finished after 0\.05 seconds; it goes on"):
                await job.wait(timeout=0.05)
            waiting = asyncio.ensure_future(job.wait())
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not job.done
            let_go.set()
            assert (await job.wait()).version == 1

    asyncio.run(program())


def test_a_cancelled_job_says_so(tmp_path: Path) -> None:
    let_go = threading.Event()

    def batches() -> Any:
        let_go.wait(10)
        yield some_rows()

    async def program() -> None:
        async with outcrop.connect_async(tmp_path / "root", memory="64MiB") as database:
            docs: AsyncCollection = await database.create_collection("docs", dim=DIM)
            job = await docs.build(batches())
            await job.cancel()
            let_go.set()
            with pytest.raises(outcrop.errors.Cancelled):
                await job.wait()

    asyncio.run(program())


def test_no_thread_is_left_behind(stored: Path) -> None:
    before = set(threading.enumerate())

    async def program() -> None:
        async with outcrop.connect_async(stored) as database:
            docs = await database.collection("docs")
            await asyncio.gather(*(docs.search(query) for query in some_rows()[:20]))

    asyncio.run(program())

    assert set(threading.enumerate()) - before == set()


def test_an_embedded_database_is_what_is_behind_it(stored: Path) -> None:
    database = outcrop.connect_async(stored)

    assert asyncio.run(database._calls.run(lambda: type(database._database))) is Database
    asyncio.run(database.close())
