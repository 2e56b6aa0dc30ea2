"""Minibatches for tasks: the same ones, each once, also where a task is cancelled while it waits."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.asynchronous import AsyncLoader
from outcrop.embedded import Database
from outcrop.errors import Cancelled, InvalidArgument
from outcrop.stop import Stop
from outcrop.types import Minibatch, OnlineOptions

NUM_NODES = 300
ASKED: dict[str, Any] = {
    "graph": "graph",
    "features": "rows",
    "seeds": np.arange(0, NUM_NODES, 3),
    "fanouts": [3, 2],
    "batch_size": 20,
    "seed": 5,
}


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Database]:
    random = np.random.default_rng(1)
    indices = random.integers(0, NUM_NODES, 4 * NUM_NODES)
    with outcrop.connect(tmp_path / "root", memory="64MiB") as database:
        database.import_graph("graph", (np.arange(0, 4 * NUM_NODES + 1, 4), indices)).wait()
        database.import_features("rows", random.normal(size=(NUM_NODES, 8)).astype(np.float32)).wait()
        database.create_plan("plan", epochs=2, cache_memory=0, **ASKED).wait()
        yield database


def planned(database: Database) -> Any:
    with database.plan("plan") as plan:
        return plan.loader(slots=2, passes=1)


def fresh(database: Database) -> Any:
    return database.fresh_loader("fresh", epochs=2, cache_memory=0, **ASKED)


def online(database: Database) -> Any:
    return database.online_loader(options=OnlineOptions(cache_memory="64KiB", slots=2), **ASKED)


LOADERS = pytest.mark.parametrize("opened", [planned, fresh, online])


def summary(minibatch: Minibatch) -> tuple[int, int, int, float]:
    return minibatch.epoch, minibatch.batch, minibatch.num_edges, float(minibatch.features["rows"].sum())


@LOADERS
def test_tasks_get_the_minibatches_of_the_synchronous_loader(stored: Database, opened: Any) -> None:
    with opened(stored) as loader:
        expected = [[summary(minibatch) for minibatch in loader] for _ in range(2)]

    async def program() -> list[list[tuple[int, int, int, float]]]:
        async with AsyncLoader[Any](opened(stored)) as loader:
            assert (loader.position, loader.left_in_epoch, len(loader)) == (0, 5, 5)
            first = [summary(minibatch) async for minibatch in loader]
            second = [summary(minibatch) async for minibatch in loader]
            assert loader.position == 10
            assert (await loader.statistics()) is not None
            return [first, second]

    assert asyncio.run(program()) == expected


@LOADERS
def test_an_epoch_that_is_left_early_is_taken_up_and_a_state_goes_on(stored: Database, opened: Any) -> None:
    async def program() -> None:
        async with AsyncLoader[Any](opened(stored)) as loader:
            async for first in loader:
                assert first.batch == 0
                del first  # else it keeps its slot
                break
            second = summary(await loader.next_minibatch())
            state = loader.state_dict()
            rest = [summary(minibatch) async for minibatch in loader]
            assert [second[1], *(batch for _, batch, *_ in rest)] == [1, 2, 3, 4]
            await loader.load_state_dict(state)
            assert [summary(minibatch) async for minibatch in loader] == rest

    asyncio.run(program())


@LOADERS
def test_a_closed_loader_says_so(stored: Database, opened: Any) -> None:
    async def program() -> None:
        loader = AsyncLoader[Any](opened(stored))
        await loader.next_minibatch()
        await loader.close()
        await loader.close()
        with pytest.raises(InvalidArgument, match="closed"):
            await loader.next_minibatch()

    asyncio.run(program())


class Slow:
    """Minibatches of epochs of three, each of which comes when it is let go. heeds: whether a Stop ends the waiting."""

    def __init__(self, heeds: bool) -> None:
        self.heeds, self.position = heeds, 0
        self.waiting, self.let_go = threading.Event(), threading.Event()

    @property
    def left_in_epoch(self) -> int:
        return 3 - self.position % 3

    def __len__(self) -> int:
        return 3

    def next_minibatch(self, *, stop: Stop | None = None) -> Any:
        self.waiting.set()
        while not self.let_go.wait(0.001):
            if self.heeds and stop is not None:
                stop.check()
        self.position += 1
        return self.position

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]

    def statistics(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("heeds", [True, False])
def test_a_cancelled_task_loses_no_minibatch(heeds: bool) -> None:
    slow = Slow(heeds)

    async def program() -> None:
        async with AsyncLoader[None](slow) as loader:
            slow.let_go.set()
            got = [await loader.next_minibatch(), await loader.next_minibatch()]
            slow.let_go.clear()
            slow.waiting.clear()
            waiting = asyncio.ensure_future(loader.next_minibatch())  # the last one of the epoch
            assert await asyncio.to_thread(slow.waiting.wait, 10)
            waiting.cancel()
            threading.Timer(0.02, slow.let_go.set).start()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (loader.position, loader.left_in_epoch, len(loader)) == (2, 1, 3)
            assert loader.state_dict() == {"position": 2}
            got += [minibatch async for minibatch in loader]
            assert got == [1, 2, 3]
            assert loader.position == 3

    asyncio.run(program())


def test_closing_ends_the_waiting_of_another_task() -> None:
    slow = Slow(heeds=True)

    async def program() -> None:
        loader = AsyncLoader[None](slow)
        waiting = asyncio.ensure_future(loader.next_minibatch())
        assert await asyncio.to_thread(slow.waiting.wait, 10)
        await loader.close()
        with pytest.raises(Cancelled):
            await waiting

    asyncio.run(program())
