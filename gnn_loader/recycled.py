"""Large output arrays that are mapped once and used again: one comes back when the last view of it has gone.

A fresh array of 200 MB costs 50,000 page faults and their zeroing, for every minibatch.
"""

import gc
import mmap
import queue
import weakref
from collections.abc import Callable

import numpy as np

from outcrop.types import UInt8Array

_PAGE = 4096
_POLL_SECONDS = 0.05


class RecycledBuffers:
    """`num_buffers` buffers, each as large as what was asked of it at most. Any thread may drop views."""

    def __init__(self, num_buffers: int) -> None:
        self.num_buffers = num_buffers
        # Views may die in a garbage collection, within any code of any thread: a SimpleQueue may be put to even then.
        self._free: queue.SimpleQueue[mmap.mmap | None] = queue.SimpleQueue()
        for _ in range(num_buffers):
            self._free.put(None)  # mapped when it is first used
        self._sizes: dict[int, int] = {}
        self._waiting = False

    @property
    def size_bytes(self) -> int:
        """What is mapped."""
        return sum(self._sizes.values())

    @property
    def is_out(self) -> bool:
        """Whether a lease waits and no buffer is free: whoever holds them must let go of one."""
        if self._waiting and self._free.empty():
            gc.collect()  # views in cycles
        return self._waiting and self._free.empty()

    def lease(self, size_bytes: int, stopped: Callable[[], bool]) -> UInt8Array | None:
        """Return uint8 [size_bytes], 4-KiB aligned and of any content; waits for one. None once `stopped`."""
        mapping = self._take(stopped)
        if stopped():
            return None
        if mapping is None or len(mapping) < size_bytes:
            mapping = self._map(mapping, size_bytes)
        lease = _Lease(mapping, size_bytes)
        weakref.finalize(lease, self._free.put, mapping).atexit = False
        return np.asarray(lease)

    def _take(self, stopped: Callable[[], bool]) -> mmap.mmap | None:
        try:
            while not stopped():
                try:
                    return self._free.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    self._waiting = True
            return None
        finally:
            self._waiting = False

    def _map(self, old: mmap.mmap | None, size_bytes: int) -> mmap.mmap:
        """A mapping with an eighth to spare, since minibatches differ by a few per cent; the old one goes."""
        if old is not None:
            del self._sizes[id(old)]
        # Private: a shared mapping gets no huge pages, and a fork would share it.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mapping = mmap.mmap(-1, (size_bytes * 9 // 8 // _PAGE + 1) * _PAGE, flags=flags)
        mapping.madvise(mmap.MADV_HUGEPAGE)
        self._sizes[id(mapping)] = len(mapping)
        return mapping


class _Lease:
    """What arrays over a buffer have as their base: when the last of them goes, this goes."""

    __slots__ = ("__array_interface__", "__weakref__", "_mapping")

    def __init__(self, mapping: mmap.mmap, size_bytes: int) -> None:
        address = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
        self._mapping = mapping
        self.__array_interface__ = {"version": 3, "shape": (size_bytes,), "typestr": "|u1", "data": (address, False)}
