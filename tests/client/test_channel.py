"""Connections: lazy, shared by threads, made anew after a fork, told to stop."""

import asyncio
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.serving import Served, serving

from outcrop.client import connect, parse_endpoint
from outcrop.client.async_channel import AsyncChannel
from outcrop.client.channel import Channel
from outcrop.client.endpoint import Endpoint, Retries
from outcrop.client.rpcs import collections
from outcrop.errors import Cancelled, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from outcrop.stop import Stop

NAMES = collections.names()


@pytest.fixture
def endpoint(server: Served) -> Endpoint:
    return parse_endpoint(server.url)


@pytest.fixture
def channel(endpoint: Endpoint) -> Iterator[Channel]:
    made = Channel(endpoint)
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield parse_endpoint(f"grpc://127.0.0.1:{listener.getsockname()[1]}")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` is true in a fork of this process, within 20 s."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_sent_before_the_first_call() -> None:
    with connect("grpc://host.that.is.not.there.example:1") as database:
        assert database.endpoint.url == "grpc://host.that.is.not.there.example:1"


def test_a_server_that_is_not_there_is_asked_again_then_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"grpc://127.0.0.1:{listener.getsockname()[1]}"
    with (
        connect(url, retries=Retries(3, 0.05, 0.05)) as database,
        pytest.raises(Unavailable, match=rf"CollectionService.ListCollections at {url}: cannot be reached"),
    ):
        database.collection_names()


def test_a_call_outlives_the_restart_of_its_server(tmp_path: Path) -> None:
    with serving(tmp_path / "root") as first:
        channel = Channel(parse_endpoint(first.url, retries=Retries(50, 0.1, 0.2)))
        assert channel.call(NAMES) == []
        first.stop()
        with ThreadPoolExecutor(1) as pool:
            names = pool.submit(channel.call, NAMES)
            with serving(tmp_path / "root", listen=first.address):
                assert names.result(30) == []
    channel.close()


def test_many_threads_share_a_channel(channel: Channel) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: channel.call(NAMES), range(200))) == [["photos"]] * 200
    assert len(channel._opened) == 1


@pytest.mark.forks
def test_a_fork_after_use_has_a_connection_of_its_own(channel: Channel) -> None:
    assert channel.call(NAMES) == ["photos"]

    assert in_child(lambda: channel.call(NAMES) == ["photos"])
    assert in_child(lambda: in_child(lambda: channel.call(NAMES) == ["photos"]))
    assert channel.call(NAMES) == ["photos"]


@pytest.mark.forks
def test_a_fork_while_other_threads_call_works_in_both(channel: Channel) -> None:
    ended = threading.Event()

    def call_on() -> int:
        calls = 0
        while not ended.is_set():
            assert channel.call(NAMES) == ["photos"]
            calls += 1
        return calls

    with ThreadPoolExecutor(2) as pool:
        calling = [pool.submit(call_on) for _ in range(2)]
        time.sleep(0.1)
        answers = [in_child(lambda: channel.call(NAMES) == ["photos"]) for _ in range(10)]
        ended.set()
        assert min(caller.result() for caller in calling) > 0
    assert answers == [True] * 10


@pytest.mark.forks
def test_a_fork_in_the_middle_of_a_long_call_says_what_to_do(channel: Channel, silent: Endpoint) -> None:
    stop, waiting = Stop(), Channel(silent)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(waiting.call, NAMES, stop=stop)
        time.sleep(0.2)

        def refused() -> bool:
            with pytest.raises(InvalidArgument, match="forked while its parent was in a call"):
                channel.call(NAMES)
            return True

        assert in_child(refused)
        stop.set()
        with pytest.raises(Cancelled):
            call.result()
    assert in_child(lambda: channel.call(NAMES) == ["photos"])
    waiting.close()


def test_a_pickled_channel_connects_anew(channel: Channel) -> None:
    assert channel.call(NAMES) == ["photos"]

    again = pickle.loads(pickle.dumps(channel))

    assert again.call(NAMES) == ["photos"]
    again.close()


def test_a_closed_channel_says_so(channel: Channel) -> None:
    channel.call(NAMES)
    channel.close()
    channel.close()

    with pytest.raises(InvalidArgument, match="is closed; connect again"):
        channel.call(NAMES)


def test_a_deadline_is_kept_although_nobody_answers(silent: Endpoint) -> None:
    channel = Channel(silent)
    began = time.monotonic()

    with pytest.raises((DeadlineExceeded, Unavailable)):
        channel.call(NAMES, timeout=0.3)
    with pytest.raises((DeadlineExceeded, Unavailable)):
        channel.call(NAMES, stop=Stop(0.3))

    assert time.monotonic() - began < 5
    channel.close()


def test_a_call_ends_when_another_thread_stops_it(silent: Endpoint) -> None:
    channel, stop = Channel(silent), Stop()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    began = time.monotonic()

    with pytest.raises(Cancelled, match="the call was cancelled"):
        channel.call(NAMES, stop=stop)

    assert time.monotonic() - began < 2
    timer.join()
    channel.close()


def test_what_is_stopped_already_is_not_sent(channel: Channel) -> None:
    stop = Stop()
    stop.set()

    with pytest.raises(Cancelled):
        channel.call(NAMES, stop=stop)
    assert channel._opened == {}  # not even connected


def test_errors_are_those_of_the_server_without_a_word_of_grpc(channel: Channel) -> None:
    with pytest.raises(NotFound, match=r"^no collection 'dogs'$") as caught:
        channel.call(collections.get("dogs"))

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_coroutines_of_several_loops_share_a_channel(endpoint: Endpoint) -> None:
    channel = AsyncChannel(endpoint)

    async def calls() -> list[list[str]]:
        found = await asyncio.gather(*(channel.call(NAMES) for _ in range(20)))
        with pytest.raises(NotFound, match=r"^no collection 'dogs'$"):
            await channel.call(collections.get("dogs"))
        return found

    assert asyncio.run(calls()) == [["photos"]] * 20
    assert asyncio.run(calls()) == [["photos"]] * 20

    async def close() -> None:
        await channel.call(NAMES)
        await channel.close()
        with pytest.raises(InvalidArgument, match="is closed; connect again"):
            await channel.call(NAMES)

    asyncio.run(close())


def test_a_cancelled_task_ends_its_call(silent: Endpoint) -> None:
    async def cancelled() -> float:
        channel = AsyncChannel(silent)
        task = asyncio.create_task(channel.call(NAMES))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await channel.close()
        return time.monotonic() - began

    assert asyncio.run(cancelled()) < 1


def test_coroutines_have_deadlines(silent: Endpoint) -> None:
    async def late() -> None:
        channel = AsyncChannel(silent)
        with pytest.raises((DeadlineExceeded, Unavailable)):
            await channel.call(NAMES, timeout=0.3)
        await channel.close()

    asyncio.run(late())
