"""Work of several calls, written once for both stacks: a generator that yields what is to be done, and is given what
came of it.

    def counted(name: str) -> Script[int]:
        found = yield Call(collections.get(name))
        yield Pause(0.1)
        return found.info.num_rows

Its errors are raised where it yields. What it does between two yields may read files and take long: on an event loop it
runs in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from outcrop.client.async_channel import AsyncChannel
from outcrop.client.channel import Channel
from outcrop.client.endpoint import Retries
from outcrop.client.rpc import Feed, Rpc
from outcrop.proto.chunks import Chunk

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """Make a unary call; gives its answer."""

    rpc: Rpc[Any]


@dataclass(frozen=True, slots=True)
class Send:
    """Send the messages of a client's stream; gives the response. request: their class."""

    messages: Sequence[Chunk[Any] | Message]
    request: type[Message]


@dataclass(frozen=True, slots=True)
class Follow:
    """Read a server's stream to its end; `notice` is called with each item. Gives the last one."""

    feed: Feed[Any]
    notice: Callable[[Any], object]
    retries: Retries


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


Step = Call | Send | Follow | Pause
Script = Generator[Step, Any, Result]


def run(script: Script[Result], channel: Channel) -> Result:
    """Do what a script says, and return what it returns. Raises what it raises."""
    try:
        step = script.send(None)
        while True:
            try:
                came = _do(step, channel)
            except Exception as error:
                step = script.throw(error)
            else:
                step = script.send(came)
    except StopIteration as ended:
        result: Result = ended.value
        return result
    finally:
        script.close()


async def run_async(script: Script[Result], channel: AsyncChannel) -> Result:
    """As `run`, for a task; when that is cancelled the script is closed."""
    advance: Callable[[], Any] = lambda: script.send(None)  # noqa: E731
    try:
        while True:
            ended, step = await asyncio.to_thread(_advanced, advance)
            if ended:
                result: Result = step
                return result
            try:
                came = await _do_async(step, channel)
            except Exception as error:
                advance = lambda error=error: script.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                advance = lambda came=came: script.send(came)  # type: ignore[misc]  # noqa: E731
    finally:
        script.close()


def _advanced(advance: Callable[[], Any]) -> tuple[bool, Any]:
    """Whether the script has ended, and its result or its next step: a thread cannot hand StopIteration to a task."""
    try:
        return False, advance()
    except StopIteration as ended:
        return True, ended.value


def _do(step: Step, channel: Channel) -> Any:
    if isinstance(step, Call):
        return channel.call(step.rpc)
    if isinstance(step, Send):
        return channel.send(step.messages, step.request)
    if isinstance(step, Follow):
        last = None
        for last in channel.stream(step.feed, retries=step.retries):
            step.notice(last)
        return last
    return time.sleep(step.seconds)


async def _do_async(step: Step, channel: AsyncChannel) -> Any:
    if isinstance(step, Call):
        return await channel.call(step.rpc)
    if isinstance(step, Send):
        return await channel.send(step.messages, step.request)
    if isinstance(step, Follow):
        last = None
        async for last in channel.stream(step.feed, retries=step.retries):
            step.notice(last)
        return last
    return await asyncio.sleep(step.seconds)
