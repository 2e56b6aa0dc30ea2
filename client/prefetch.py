"""A thread that receives minibatches ahead of the caller, bounded in number and in bytes."""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import cast

from outcrop.client.channel import Channel
from outcrop.client.rpcs.minibatches import MinibatchFeed, Received
from outcrop.errors import Cancelled
from outcrop.stop import Stop, check

# How late a `Stop` of the caller may be noticed.
_LOOK_UP_SECONDS = 0.005


class Prefetch:
    """What comes from one feed. While it is full nothing is taken from the connection, and so the server waits."""

    def __init__(self, channel: Channel, feed: MinibatchFeed, most: int, most_bytes: int) -> None:
        """Begin to receive. most, most_bytes: of the minibatches that wait; one may always wait."""
        self.process = os.getpid()
        self._most, self._most_bytes = most, most_bytes
        self._ready: deque[Received] = deque()
        self._ready_bytes = 0
        self._ended: BaseException | None = None
        self._changed = threading.Condition(threading.RLock())  # `end` may be called by the garbage collector
        self._stop = Stop()
        self.waits = self.given = self.ready_sum = 0
        self.wait_seconds = 0.0
        self._thread = threading.Thread(
            target=self._receive, args=(channel, feed), name="outcrop minibatches", daemon=True
        )
        self._thread.start()

    def next(self, stop: Stop | None) -> Received:
        """Wait for the next one. Raises what ended the stream, when all that came before has been given out, and what
        `stop` says."""
        with self._changed:
            self.ready_sum += len(self._ready)
            if not self._ready:
                self._wait(stop)
            if not self._ready:
                assert self._ended is not None
                raise self._ended
            received = self._ready.popleft()
            self._ready_bytes -= received.size_bytes
            self.given += 1
            self._changed.notify_all()
            return received

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended is not None and not self._ready

    def end(self) -> None:
        """Tell the server that nobody listens any more; do not wait for the thread. In a fork it is the parent's."""
        if self.process == os.getpid():
            self._stop.set()
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """End, and wait for the thread. Twice is allowed."""
        self.end()
        self._thread.join()
        self._ready.clear()

    def _wait(self, stop: Stop | None) -> None:
        self.waits += 1
        begin = time.perf_counter()
        try:
            while not self._ready and self._ended is None:
                check(stop)
                self._changed.wait(None if stop is None else _LOOK_UP_SECONDS)
        finally:
            self.wait_seconds += time.perf_counter() - begin

    def _receive(self, channel: Channel, feed: MinibatchFeed) -> None:
        try:
            items = cast("Generator[Received, None, None]", channel.stream(feed, stop=self._stop))
            with contextlib.closing(items):
                for received in items:
                    if not self._put(received):
                        return
            ended: BaseException = StopIteration()
        except BaseException as error:  # the caller gets it
            ended = error
        with self._changed:
            self._ended = ended
            self._changed.notify_all()

    def _put(self, received: Received) -> bool:
        """Wait for room, then add; False when nobody listens any more."""
        with self._changed:
            while self._is_full(received) and not self._stop.is_set:
                self._changed.wait()
            if self._stop.is_set:
                self._ended = Cancelled("the loader was closed")
                return False
            self._ready.append(received)
            self._ready_bytes += received.size_bytes
            self._changed.notify_all()
            return True

    def _is_full(self, received: Received) -> bool:
        if not self._ready:
            return False
        return len(self._ready) >= self._most or self._ready_bytes + received.size_bytes > self._most_bytes
