"""One budget for all that a process of the server has open.

    collections   get a share of it when they are opened: all that is of use to them, up to three quarters. Their list
                  caches take what they are given, so who comes when the rest is too little gets a quarter at most, for
                  which those used longest ago are closed: two large ones then fit beside each other
    the others    graphs, tables, loaders (`OpenedObjects`) reserve what they need in the same budget

Nothing is closed under a call. What is in use when its memory is wanted is retired: calls under way end with it, the
next one opens it anew, in its turn.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from outcrop.ann import MemoryNeeds
from outcrop.connection import OpenCollection
from outcrop.errors import ResourceExhausted
from outcrop.stop import Stop, check
from outcrop.store import Accountant, Reservation
from outcrop.types import format_bytes

# Who holds the shares of collections, in the words of the accountant.
COLLECTIONS: Final = "collections"
# How long one waits for the memory of calls under way, such as an export, before it is refused.
_MOST_WAIT_SECONDS = 5.0
# How long a new version waits for the last calls of the old one, rather than be content with what that one leaves.
_SUCCESSION_SECONDS = 0.5
# What waits is woken when a share is given back; of a table that is idle now, or a caller's deadline, it has to hear.
_LOOK_UP_SECONDS = 0.01


class OtherObjects(Protocol):
    """What else is open within the budget."""

    def oldest_use(self) -> float | None:
        """When what is idle and was used longest ago was used, by time.monotonic; None when nothing is idle."""

    def close_oldest(self) -> bool:
        """Close that one; return whether there was one."""


class Share:
    """What one version of a collection holds. See `outcrop.connection.MemoryShare`."""

    def __init__(self, collection: OpenCollection, held: Reservation, given_back: Callable[["Share"], None]) -> None:
        self.collection = collection
        self.size_bytes = held.size_bytes
        self.is_retiring = False
        self._held, self._given_back = held, given_back

    def close(self) -> None:
        """Give it back."""
        self._held.close()
        self._given_back(self)


class MemoryPool:
    """See the module. For any number of threads."""

    def __init__(self, budget_bytes: int, most_wait_seconds: float = _MOST_WAIT_SECONDS) -> None:
        """most_wait_seconds: for the memory of calls under way."""
        self.memory = Accountant(budget_bytes)
        self._most_wait_seconds = most_wait_seconds
        self._shares: set[Share] = set()
        self._others: OtherObjects | None = None
        self._line: deque[object] = deque()  # who waits for memory, in order
        self._changed = threading.Condition()

    def add(self, others: OtherObjects) -> None:
        """Let those be closed, too, when memory is wanted."""
        self._others = others

    def take(self, collection: OpenCollection, needs: MemoryNeeds, stop: Stop | None = None) -> Share:
        """Return a share between least and most of what is needed, closing what was used longest ago.

        Waits while calls under way hold too much. Raises ResourceExhausted when the budget could not hold the
        collection alone, or when those calls take too long; DeadlineExceeded, Cancelled.
        """
        budget = self.memory.budget_bytes
        if needs.least_bytes > budget:
            raise ResourceExhausted(
                f"collection {collection.name!r}: expected to need at most the memory of this server, "
                f"{format_bytes(budget)} ({budget} bytes), found that it needs {format_bytes(needs.least_bytes)} "
                f"({needs.least_bytes} bytes) to be open; give the server more `memory`"
            )
        most = min(needs.most_bytes, max(needs.least_bytes, budget * 3 // 4))
        with self.turn(stop):
            return self._taken(collection, needs.least_bytes, most, stop)

    @contextlib.contextmanager
    def turn(self, stop: Stop | None = None) -> Iterator[None]:
        """Take memory alone, in the order of coming: who was retired for somebody comes after that one."""
        ticket = object()
        with self._changed:
            self._line.append(ticket)
        try:
            with self._changed:
                while self._line[0] is not ticket:
                    self._changed.wait(_LOOK_UP_SECONDS)
                    check(stop)
            yield
        finally:
            with self._changed:
                self._line.remove(ticket)
                self._changed.notify_all()

    def close_oldest(self) -> bool:
        """Close what is idle and was used longest ago; return whether there was anything."""
        while True:
            collection, used = self._oldest_collection()
            other = None if self._others is None else self._others.oldest_use()
            if other is not None and (collection is None or other < used):
                assert self._others is not None
                if self._others.close_oldest():
                    return True
            elif collection is None:
                return False
            elif collection.close_if_idle():
                return True
            # Somebody uses it by now.

    def make_room(self) -> bool:
        """Close what `close_oldest` would, or else a collection in use, once its calls under way have ended; return
        whether any memory was given back."""
        if self.close_oldest():
            return True
        share = self._retiring_share()
        if share is None:
            return False
        with self._changed:
            return self._changed.wait_for(lambda: share not in self._shares, self._most_wait_seconds)

    # ---- collections

    def _taken(self, collection: OpenCollection, least: int, most: int, stop: Stop | None) -> Share:
        began, made_room = time.monotonic(), False
        fair = min(most, max(least, self.memory.budget_bytes // 4))
        while True:
            check(stop)
            waited = time.monotonic() - began
            if waited >= _SUCCESSION_SECONDS or not self._is_succession(collection, most):
                share = self._share(collection, fair, fair if made_room else most)
                if share is not None:
                    return share
                if self._retiring_bytes() + self._free_bytes() < fair and self._close_one():
                    made_room = True
                    continue
                if waited >= self._most_wait_seconds or not self._retiring_bytes():
                    share = self._share(collection, least, fair)  # with that, if no more is to come
                if share is not None:
                    return share
                if waited >= self._most_wait_seconds:
                    raise ResourceExhausted(self._refusal(collection, least))
            with self._changed:
                self._changed.wait(_LOOK_UP_SECONDS)

    def _close_one(self) -> bool:
        """Close what is idle, or see that something in use will be; return whether there was anything."""
        return self.close_oldest() or self._retire_largest()

    def _share(self, collection: OpenCollection, enough: int, most: int) -> Share | None:
        free = self._free_bytes()
        if free < enough:
            return None
        try:
            held = self.memory.reserve(COLLECTIONS, min(most, free))
        except ResourceExhausted:
            return None  # a table was quicker
        share = Share(collection, held, self._given_back)
        with self._changed:
            self._shares.add(share)
        return share

    def _given_back(self, share: Share) -> None:
        with self._changed:
            self._shares.discard(share)
            self._changed.notify_all()

    def _is_succession(self, collection: OpenCollection, most: int) -> bool:
        """Whether an older version holds what this one could use."""
        if self._free_bytes() >= most:
            return False
        return any(share.is_retiring and share.collection is collection for share in self._snapshot())

    def _oldest_collection(self) -> tuple[OpenCollection | None, float]:
        """What is idle and was used longest ago, and when that was."""
        idle = [
            (used, number, share.collection)
            for number, share in enumerate(self._snapshot())
            if not share.is_retiring and (used := share.collection.last_used) is not None
        ]
        if not idle:
            return None, 0.0
        used, _, collection = min(idle)
        return collection, used

    def _retire_largest(self) -> bool:
        """Retire the collection in use that holds most; whether there was one."""
        busy = [share for share in self._snapshot() if not share.is_retiring and share.collection.is_open]
        if not busy:
            return False
        max(busy, key=lambda share: share.size_bytes).collection.retire()
        return True

    def _retiring_share(self) -> Share | None:
        retiring = [share for share in self._snapshot() if share.is_retiring]
        if not retiring and self._retire_largest():
            retiring = [share for share in self._snapshot() if share.is_retiring]
        return next(iter(retiring), None)

    def _snapshot(self) -> list[Share]:
        with self._changed:
            return list(self._shares)

    def _free_bytes(self) -> int:
        return self.memory.statistics().available_bytes

    def _retiring_bytes(self) -> int:
        return sum(share.size_bytes for share in self._snapshot() if share.is_retiring)

    def _refusal(self, collection: OpenCollection, least: int) -> str:
        found = self.memory.statistics()
        holders = ", ".join(f"{owner} {format_bytes(held)}" for owner, held in found.owners)
        return (
            f"collection {collection.name!r}: expected {least} bytes of the {found.budget_bytes} of this server's "
            f"memory for {self._most_wait_seconds:g} s, found {found.available_bytes}; held by calls under way: "
            f"{holders}; try again later, or give the server more `memory`"
        )
