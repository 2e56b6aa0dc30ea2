"""Rows of a stored file behind one read, whichever tier holds them: the Python face of core/tiers.

The keys are row numbers, and the future is whatever the caller announces; what the rows mean is not known here.

with TieredReader(reader, file, num_rows=n, row_bytes=512, cache_rows=n // 10) as tiers:
    numbers = [tiers.announce(keys) for keys in first_requests]
    tiers.read(numbers[0], out)
"""

import threading
from collections import deque
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.store.accountant import Reservation
from outcrop.store.reader import StorageReader, StoredFile
from outcrop.types import DeviceModel, TierStatistics, VictimStatistics

UInt8Array = npt.NDArray[np.uint8]
UInt16Array = npt.NDArray[np.uint16]
UInt32Array = npt.NDArray[np.uint32]

# An announced key: itself, its next use, its place among those that no tier holds, and in the list that a sweep reads.
_BYTES_PER_ANNOUNCED_KEY = 4 + 4 + 4 + 12
# One of the request being read: its places, and a hash table of what is missed at between a quarter and half load.
_BYTES_PER_READ_KEY = 4 + 4 + 4 + 1 + 32
_NO_KEYS: UInt32Array = np.empty(0, np.uint32)


class VictimBuffer:
    """Rows kept for coming requests: in memory, and below it in an unnamed scratch file. A context manager.

    Rows for request t lie together in its inbox and come back in long reads (LSM-GNN's Preemptive Victim-buffer
    Prefetcher, arXiv 2407.15264). For one thread at a time, except `statistics`.
    """

    def __init__(
        self,
        reader: StorageReader,
        row_bytes: int,
        memory_bytes: int,
        disk_bytes: int = 0,
        folder: Path | None = None,
    ) -> None:
        """memory_bytes: of the reader's budget, at least four extents of 256 KiB. disk_bytes: of the scratch file.

        Raises InvalidArgument, ResourceExhausted when a budget or the disk has no room, StorageFailure.
        """
        if disk_bytes > 0 and folder is None:
            raise InvalidArgument("victim buffer: a disk budget needs a folder for the scratch file, found None")
        self._held = reader.memory.reserve("victim buffer", memory_bytes)
        try:
            self.native = native.VictimBuffer(row_bytes, memory_bytes, disk_bytes, str(folder or ""))
        except BaseException:
            self._held.close()
            raise

    def put(self, request: int, keys: UInt32Array, rows: UInt8Array) -> int:
        """Keep rows, uint8 [n, row_bytes], for `request`; return how many of the first ones found room."""
        return int(self.native.put(request, keys, rows))

    def prefetch(self, request: int) -> None:
        """Begin to bring the inbox back to memory."""
        self.native.prefetch(request)

    def take(self, request: int) -> tuple[UInt32Array, UInt8Array]:
        """Return the keys, uint32 [n], and rows, uint8 [n, row_bytes], kept for `request`, in no stated order.

        They are gone then, as are those of earlier requests. Raises InvalidArgument for a request that has passed,
        CorruptFile when the device gives back other bytes, StorageFailure.
        """
        keys, rows = self.native.take(request)
        return keys, rows

    def statistics(self) -> VictimStatistics:
        """Return the counters."""
        return _victim_statistics(self.native.statistics())

    def close(self) -> None:
        """Give memory and disk back. Closing twice is allowed."""
        if hasattr(self, "native"):
            del self.native
            self._held.close()

    def __enter__(self) -> "VictimBuffer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class TierOptions:
    """What each tier gets.

    cache_rows: rows that the cache holds. hot_keys: ascending rows that stay in memory always. victim_memory_bytes: 0
    for no victim buffer. victim_disk_bytes, scratch_folder: of its scratch file. longest_group: how many announced
    requests may be read in one sweep of the file; 1 for each alone. device: what reads cost, to choose by.
    """

    cache_rows: int = 0
    hot_keys: UInt32Array | None = None
    victim_memory_bytes: int = 0
    victim_disk_bytes: int = 0
    scratch_folder: Path | None = None
    longest_group: int = 8
    device: DeviceModel = field(default_factory=DeviceModel)

    def memory_bytes(self, num_rows: int, row_bytes: int) -> int:
        """What a reader with these options reserves, announced keys apart."""
        num_hot = 0 if self.hot_keys is None else len(self.hot_keys)
        tiers = native.TieredReader.memory_bytes(num_rows, row_bytes, self.cache_rows, num_hot)
        return int(tiers) + self.victim_memory_bytes


class TieredReader:
    """Rows through hot set, cache, victim buffer and file. A context manager.

    Requests are announced ahead, in order, and read in the same order. What the cache holds is decided by the announced
    requests first and by `set_scores` for rows that none of them wants. Any thread may call; calls take turns.
    """

    def __init__(
        self, reader: StorageReader, file: StoredFile, *, num_rows: int, row_bytes: int, options: TierOptions
    ) -> None:
        """file: row k is payload bytes [k * row_bytes, (k + 1) * row_bytes).

        All memory is reserved in the reader's budget. Raises InvalidArgument, ResourceExhausted when memory or the
        scratch file's disk has no room, CorruptFile and StorageFailure when hot rows cannot be read.
        """
        if options.victim_disk_bytes > 0 and options.scratch_folder is None:
            raise InvalidArgument("tiers: a disk budget needs a folder for the scratch file, found None")
        self.row_bytes = row_bytes
        self._lock = threading.Lock()
        self._sizes: deque[int] = deque()
        self._memory = reader.memory
        self._held = reader.memory.reserve("tiers", options.memory_bytes(num_rows, row_bytes))
        self._announced: Reservation = reader.memory.reserve("announced keys", 0)
        try:
            self.native = native.TieredReader(
                file.native,
                reader.arena,
                num_rows,
                row_bytes,
                options.cache_rows,
                _NO_KEYS if options.hot_keys is None else options.hot_keys,
                options.victim_memory_bytes,
                options.victim_disk_bytes,
                str(options.scratch_folder or ""),
                options.longest_group,
                options.device.gap_bytes,
                options.device.read_cost_us,
                options.device.byte_cost_us,
            )
        except BaseException:
            self._announced.close()
            self._held.close()
            raise

    def set_scores(self, scores: UInt16Array) -> None:
        """Rank rows that no announced request wants: uint16 [num_rows], the higher score stays."""
        with self._lock:
            self.native.set_scores(scores)

    def announce(self, keys: UInt32Array) -> int:
        """Say what the next request will ask for, uint32 [n], repeats and any order allowed; return its number.

        Raises InvalidArgument for a row that the file does not have, ResourceExhausted when the budget has no room.
        """
        with self._lock:
            self._announced.resize(self._announced.size_bytes + len(keys) * _BYTES_PER_ANNOUNCED_KEY)
            self._sizes.append(len(keys))
            try:
                return int(self.native.announce(keys))
            except BaseException:
                self._forget(self._sizes.pop())
                raise

    def read(self, request: int, out: UInt8Array) -> None:
        """Fill `out`, uint8 [n, row_bytes], with the rows of the oldest announced request, in its order.

        Raises InvalidArgument for another request or size, CorruptFile, StorageFailure; after the last two, nothing can
        be read any more.
        """
        with self._lock:
            with self._memory.reserve("request being read", _BYTES_PER_READ_KEY * len(out)):
                self.native.read(request, out.reshape(-1))
            self._forget(self._sizes.popleft())

    def statistics(self) -> TierStatistics:
        """Return the counters. Any time, also while another thread reads."""
        counters = self.native.statistics()
        rows = {own.name: getattr(counters, own.name) for own in fields(TierStatistics) if own.name != "victim"}
        return TierStatistics(**rows, victim=_victim_statistics(counters.victim))

    def close(self) -> None:
        """Give memory and disk back; waits for a read under way. Closing twice is allowed."""
        with self._lock:
            if hasattr(self, "native"):
                del self.native
                self._announced.close()
                self._held.close()

    def _forget(self, num_keys: int) -> None:
        self._announced.resize(self._announced.size_bytes - num_keys * _BYTES_PER_ANNOUNCED_KEY)

    def __enter__(self) -> "TieredReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _victim_statistics(counters: Any) -> VictimStatistics:
    return VictimStatistics(**{own.name: getattr(counters, own.name) for own in fields(VictimStatistics)})
