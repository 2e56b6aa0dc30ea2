"""The rows that caches miss, copied from the feature table to a log in their order of use: one scan of the table.

Each segment of the log is a stream of the distribution (core/loader/row_packer.hpp). Where there are so many that their
runs would be short, the scan distributes rows to groups of consecutive segments, each row once per group, and then each
group is distributed to its segments: the log costs a second write and read, and every write is long.
"""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import ResourceExhausted
from outcrop.store import FileEntry, StorageReader, StoredFile, format_bytes, os_calls, write_atomically
from outcrop.store.format import block_file
from outcrop.store.format.block_file import BLOCK_BYTES, Header
from outcrop.types import Int64Array, UInt32Array

# Runs of 1 MiB are written at the device's bandwidth and shorter ones a little slower; a second level triples the bytes
# that move. So runs may be as short as this before a second level is taken.
_RUN_BYTES = 256 << 10
_CHECKPOINT_BYTES = 4 << 30
_NOTE, _RUNS, _UNIONS = "pack.json", "runs.blk", "unions.keys"

Tick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Misses:
    """What a log will hold. keys: uint32, may be mapped. begins: int64 [n + 1], of each segment's keys. offsets: int64
    [n], where its rows go. row_bytes: of a coded row."""

    keys: UInt32Array
    begins: Int64Array
    offsets: Int64Array
    row_bytes: int

    @property
    def num_segments(self) -> int:
        """How many segments have misses."""
        return len(self.offsets)

    @property
    def log_bytes(self) -> int:
        """The log's payload."""
        if not self.num_segments:
            return 0
        return int(self.offsets[-1] + (self.begins[-1] - self.begins[-2]) * self.row_bytes)


@dataclass(slots=True)
class PackCost:
    """What packing read and wrote, in bytes; less than all of it when it was resumed."""

    read_bytes: int = 0
    written_bytes: int = 0


def choose_groups(misses: Misses, memory_bytes: int, run_bytes: int = _RUN_BYTES) -> Int64Array:
    """Return where groups of segments begin, int64 [num_groups + 1]; one group means one level of distribution.

    Raises ResourceExhausted when `memory_bytes` is too little for any, naming what is enough.
    """
    num = misses.num_segments
    least = int(native.least_pack_memory(1, misses.row_bytes))
    # Runs are twice memory / segments long; what is left for reads is a quarter.
    fits = max(1, int(memory_bytes * 0.75) * 2 // run_bytes)
    longest = int(np.sum(np.minimum(np.diff(misses.begins) * misses.row_bytes, run_bytes)))
    if memory_bytes < least:
        raise ResourceExhausted(f"pack: expected at least {format_bytes(least)} of memory, found {memory_bytes} bytes")
    if longest <= fits * run_bytes and native.least_pack_memory(num, misses.row_bytes) <= memory_bytes:
        return np.array([0, num], np.int64)
    num_groups = min(fits, int(np.ceil(np.sqrt(num)))) if num > fits * fits else -(-num // fits)
    most = -(-num // num_groups)
    least = int(native.least_pack_memory(max(most, num_groups), misses.row_bytes))
    if memory_bytes < least:
        raise ResourceExhausted(
            f"pack: {num} segments of the log in {num_groups} groups need {format_bytes(least)} of memory, "
            f"{format_bytes(memory_bytes)} were given"
        )
    return np.unique(np.append(np.arange(0, num, most), num)).astype(np.int64)


def temporary_bytes(misses: Misses, groups: Int64Array) -> int:
    """Return the bytes on disk that two levels need beside the log, 0 for one level."""
    if len(groups) <= 2:
        return 0
    rows = sum(_union_size(misses, first, last) for first, last in pairwise(groups.tolist()))
    return block_file.file_size_bytes(rows * misses.row_bytes + (len(groups) - 1) * BLOCK_BYTES) + 4 * rows


class LogPacker:
    """Packs one log, and goes on behind its last checkpoint when it is made again over the same scratch folder."""

    def __init__(
        self,
        reader: StorageReader,
        table: StoredFile,
        num_rows: int,
        misses: Misses,
        target: Path,
        scratch: Path,
        memory_bytes: int,
        *,
        run_bytes: int = _RUN_BYTES,
        checkpoint_bytes: int = _CHECKPOINT_BYTES,
    ) -> None:
        """table: the rows. target: the log to be. scratch: of this log alone; it is made where missing.

        run_bytes, checkpoint_bytes: for tests. Raises ResourceExhausted.
        """
        self._reader, self._table, self._num_rows, self._misses = reader, table, num_rows, misses
        self._target, self._scratch = target, scratch
        self._memory_bytes, self._checkpoint_bytes = memory_bytes, checkpoint_bytes
        self._groups = choose_groups(misses, memory_bytes, run_bytes)
        self._state: dict[str, Any] = {}
        self.cost = PackCost()

    @property
    def num_groups(self) -> int:
        """1: the scan of the table writes the log itself."""
        return len(self._groups) - 1

    def run(self, tick: Tick) -> FileEntry:
        """Pack, and return the log's entry. tick: takes the fraction that is done, and may raise to stop."""
        self._scratch.mkdir(exist_ok=True)
        note = self._scratch / _NOTE
        self._state = json.loads(note.read_text()) if note.exists() else {}
        if "log" not in self._state:
            if self._state.get("groups") != self._groups.tolist():
                # Begun with another memory, and so in other groups: how far those came means nothing here.
                self._state = {"groups": self._groups.tolist()}
            if self.num_groups == 1:
                self._pack_from_table(tick)
            else:
                runs = self._make_runs(lambda done: tick(0.5 * done))
                self._pack_from_runs(runs, lambda done: tick(0.5 + 0.5 * done))
            for name in (_RUNS, _UNIONS):
                os_calls.remove(self._scratch / name)
        tick(1.0)
        return FileEntry.from_json(self._state["log"])

    def _pack_from_table(self, tick: Tick) -> None:
        m = self._misses
        target = self._opened(self._target, m.log_bytes)
        self._distribute(self._table, self._num_rows, (m.keys, m.begins, m.offsets), target, tick)
        self._finish(target, self._target, "log")

    def _make_runs(self, tick: Tick) -> "_Runs":
        """The first level: each group's rows, once, in the order of the table."""
        unions = self._unions()
        path = self._scratch / _RUNS
        if "runs" not in self._state:
            target = self._opened(path, unions.log_bytes)
            self._distribute(self._table, self._num_rows, (unions.keys, unions.begins, unions.offsets), target, tick)
            self._finish(target, path, "runs")
        return _Runs(unions, path, FileEntry.from_json(self._state["runs"]))

    def _pack_from_runs(self, runs: "_Runs", tick: Tick) -> None:
        """The second level, group by group."""
        m, unions = self._misses, runs.unions
        target = self._opened(self._target, m.log_bytes)
        with self._reader.open(runs.path, runs.entry) as source:
            for group in range(self._state.get("group", 0), self.num_groups):
                first, last = int(self._groups[group]), int(self._groups[group + 1])
                keys = unions.keys[unions.begins[group] : unions.begins[group + 1]]
                wanted = (m.keys, m.begins[first : last + 1], m.offsets[first:last])
                tick_group = _part(tick, group, self.num_groups)
                offset = int(unions.offsets[group])
                self._distribute(source, len(keys), wanted, target, tick_group, keys, offset)
                target.sync()
                self._note(group=group + 1, key=0)
        self._finish(target, self._target, "log")

    def _distribute(
        self,
        source: StoredFile,
        num_rows: int,
        wanted: tuple[UInt32Array, Int64Array, Int64Array],
        target: native.ExtentFile,
        tick: Tick,
        source_keys: UInt32Array | None = None,
        source_offset: int = 0,
    ) -> None:
        keys, begins, offsets = wanted
        total = max(1, int(begins[-1] - begins[0]))
        usage = native.pack_rows(
            source.native,
            self._misses.row_bytes,
            num_rows,
            keys,
            begins,
            offsets,
            target,
            memory_bytes=self._memory_bytes,
            checkpoint_bytes=self._checkpoint_bytes,
            first_key=self._state.get("key", 0),
            progress=lambda rows: tick(rows / total),
            checkpoint=lambda key: self._note(key=key),
            source_keys=source_keys,
            source_offset=source_offset,
        )
        self.cost.read_bytes += usage.read_bytes
        self.cost.written_bytes += usage.written_bytes

    def _unions(self) -> Misses:
        """The keys that each group wants, each once, mapped; they are made anew by a resumed packing."""
        m, path = self._misses, self._scratch / _UNIONS
        sizes = [_union_size(m, first, last) for first, last in pairwise(self._groups.tolist())]
        begins = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        keys: UInt32Array = np.memmap(path, np.uint32, "w+", shape=int(begins[-1]))
        for group, (first, last) in enumerate(pairwise(self._groups.tolist())):
            native.union_of_keys(m.keys, m.begins[first : last + 1], keys[begins[group] : begins[group + 1]])
        blocks = -(-np.array(sizes, np.int64) * m.row_bytes // BLOCK_BYTES)
        offsets = BLOCK_BYTES * np.concatenate(([0], np.cumsum(blocks)))[:-1].astype(np.int64)
        return Misses(keys, begins, offsets, m.row_bytes)

    # Files and notes

    def _opened(self, path: Path, payload_bytes: int) -> native.ExtentFile:
        made = f"{path.name} made"
        target = native.ExtentFile(str(path), payload_bytes, self._state.get(made, False))
        if made not in self._state:
            target.sync()
            self._note(**{made: True}, key=0)
        return target

    def _finish(self, target: native.ExtentFile, path: Path, kind: str) -> None:
        """Make a whole block file of it, durably, and note its entry."""
        target.sync()
        header = Header(kind, target.payload_bytes, target.table_crc(), uuid.uuid4().bytes)
        block = block_file.pack_header(header)
        descriptor = os_calls.reopen(path, path.stat().st_size)
        try:
            os_calls.write_at(descriptor, path, block, 0)
            os_calls.sync_data(descriptor, path)
        finally:
            os.close(descriptor)
        size_bytes = block_file.file_size_bytes(target.payload_bytes)
        entry = FileEntry(path.name, kind, size_bytes, header.file_id, block_file.header_crc(block))
        self._note(**{kind: entry.to_json()}, key=0)

    def _note(self, **fields: Any) -> None:
        self._state |= fields
        write_atomically(self._scratch / _NOTE, json.dumps(self._state).encode())


@dataclass(frozen=True, slots=True)
class _Runs:
    """What the first level has written: for each group the keys of its rows, and where they lie."""

    unions: Misses
    path: Path
    entry: FileEntry


def _part(tick: Tick, number: int, count: int) -> Tick:
    return lambda done: tick((number + done) / count)


def _union_size(misses: Misses, first: int, last: int) -> int:
    return int(native.union_of_keys(misses.keys, misses.begins[first : last + 1], None))
