"""Forking a process that makes calls.

grpc survives a fork only when no thread is inside of it: the child of another moment aborts or hangs at its first
call. So a fork waits a little for the calls under way, which are mostly short, and holds new ones up. Where one takes
longer, the child is told so by an error, and keeps to what needs no server.
"""

import os
import threading
from types import TracebackType

from outcrop.errors import InvalidArgument

# Longer than nearly all calls, shorter than a person would wonder about.
_LONGEST_WAIT_SECONDS = 2.0


class CallGate:
    """Whoever is inside of grpc has entered: `with gate: ...`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = False
        self._poller = False
        self._broken = False

    def __enter__(self) -> None:
        with self._changed:
            while self._forking:
                self._changed.wait()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    def keep_thread_inside(self) -> None:
        """A thread of grpc will be inside until the process ends: that of its asyncio stack."""
        self._poller = True

    def check(self) -> None:
        """Raise InvalidArgument where this process was forked at a bad moment."""
        if self._broken:
            raise InvalidArgument(
                "this process was forked while its parent was in a call to a server, or had an async connection, "
                "which grpc does not survive; start processes by multiprocessing's spawn or forkserver, or fork earlier"
            )

    def before_fork(self) -> None:
        """Hold calls up until the fork."""
        self._changed.acquire()
        self._forking = True
        self._changed.wait_for(lambda: not self._inside, _LONGEST_WAIT_SECONDS)

    def after_in_parent(self) -> None:
        """Go on."""
        self._forking = False
        self._changed.notify_all()
        self._changed.release()

    def after_in_child(self) -> None:
        """Of the threads, this one is left."""
        broken = self._broken or self._inside > 0 or self._poller
        self.__init__()  # type: ignore[misc]
        self._broken = broken


gate = CallGate()
os.register_at_fork(before=gate.before_fork, after_in_parent=gate.after_in_parent, after_in_child=gate.after_in_child)
