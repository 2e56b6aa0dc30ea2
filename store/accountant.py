"""One budget for all memory: centroids, hot sets, caches, buffers, checksum tables reserve here before they allocate.

memory = Accountant(parse_bytes("64MiB"))
with memory.reserve("centroids", 3_000_000) as held:
    held.resize(2_500_000)
"""

import threading
from collections.abc import Iterable
from types import TracebackType

from outcrop.errors import InvalidArgument, ResourceExhausted
from outcrop.types import MemoryStatistics, format_bytes


class Reservation:
    """A part of the budget held by one owner until `close()`. A context manager."""

    def __init__(self, accountant: "Accountant", owner: str) -> None:
        self._accountant = accountant
        self.owner = owner
        self.size_bytes = 0
        self._closed = False

    def resize(self, size_bytes: int) -> None:
        """Hold `size_bytes` from now on.

        Raises ResourceExhausted when the growth does not fit; what was held stays held.
        """
        assert not self._closed, "a closed reservation cannot be resized"
        self._accountant._resize(self, size_bytes)

    def close(self) -> None:
        """Give everything back. Closing twice is allowed."""
        if not self._closed:
            self._accountant._release(self)
            self._closed = True

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Accountant:
    """Keeps the sum of all reservations within `budget_bytes`. Safe for several threads; allocates nothing itself."""

    def __init__(self, budget_bytes: int) -> None:
        if budget_bytes < 1:
            raise InvalidArgument(f"memory budget: expected at least 1 byte, found {budget_bytes}")
        self.budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._live: set[Reservation] = set()
        self._reserved_bytes = 0
        self._peak_bytes = 0

    def reserve(self, owner: str, size_bytes: int) -> Reservation:
        """Return a reservation of `size_bytes` in the name of `owner` (a word for people: "centroids").

        Raises ResourceExhausted when it does not fit; the message says who holds what.
        """
        reservation = Reservation(self, owner)
        self._resize(reservation, size_bytes)
        return reservation

    def statistics(self) -> MemoryStatistics:
        """Return the budget, what is reserved, the highest it has been, and by whom."""
        with self._lock:
            return MemoryStatistics(
                self.budget_bytes, self._reserved_bytes, self._peak_bytes, tuple(_by_owner(self._live))
            )

    def _resize(self, reservation: Reservation, size_bytes: int) -> None:
        if size_bytes < 0:
            raise InvalidArgument(f"memory for {reservation.owner}: expected a size, found {size_bytes}")
        with self._lock:
            growth = size_bytes - reservation.size_bytes
            if growth > self.budget_bytes - self._reserved_bytes:
                raise ResourceExhausted(self._refusal(reservation.owner, growth))
            self._live.add(reservation)
            reservation.size_bytes = size_bytes
            self._reserved_bytes += growth
            self._peak_bytes = max(self._peak_bytes, self._reserved_bytes)

    def _release(self, reservation: Reservation) -> None:
        with self._lock:
            self._live.discard(reservation)
            self._reserved_bytes -= reservation.size_bytes
            reservation.size_bytes = 0
            assert self._reserved_bytes >= 0

    def _refusal(self, owner: str, growth: int) -> str:
        holders = ", ".join(f"{name} {format_bytes(held)}" for name, held in _by_owner(self._live)) or "nobody"
        return (
            f"memory budget of {format_bytes(self.budget_bytes)} ({self.budget_bytes} bytes): {owner} asked for "
            f"{format_bytes(growth)} ({growth} bytes), {self.budget_bytes - self._reserved_bytes} bytes are left; "
            f"held by: {holders}"
        )


def _by_owner(live: Iterable[Reservation]) -> list[tuple[str, int]]:
    totals: dict[str, int] = {}
    for reservation in live:
        totals[reservation.owner] = totals.get(reservation.owner, 0) + reservation.size_bytes
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))
