"""Whether calls may come in, and when the last one has left: for a server that stops without breaking any."""

import asyncio
import contextlib
from typing import Any

import grpc

from outcrop.errors import Unavailable


class Doors:
    """Open until `close`. For one event loop."""

    def __init__(self) -> None:
        self.inside = 0
        self._closed = False
        self._emptied = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether calls are refused."""
        return self._closed

    def enter(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """Let a call in, which is inside until its last byte is sent. Raises Unavailable when the doors are closed."""
        if self._closed:
            raise Unavailable("the server is stopping and takes no new calls; try again when it is back")
        self.inside += 1
        leave: Any = self._leave  # the stubs of grpc want a class of their own
        context.add_done_callback(leave)

    def close(self) -> None:
        """Refuse calls from now on."""
        self._closed = True

    async def emptied(self, seconds: float) -> bool:
        """Wait until the last call has left, at most so long; return whether it has."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.inside and loop.time() < deadline:
            self._emptied.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), deadline - loop.time())
        return not self.inside

    def _leave(self, _: object) -> None:
        self.inside -= 1
        if not self.inside:
            self._emptied.set()
