"""Packing: rows go to their segments of the log, in one level or two, and a killed packing goes on."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import Cancelled, ResourceExhausted
from outcrop.gnn_loader.planning.pack import LogPacker, Misses, choose_groups, temporary_bytes
from outcrop.store import Accountant, BlockWriter, FileEntry, StorageReader
from outcrop.types import AnyArray

MEMORY = 1 << 20


class Problem:
    """A table of random rows, and segments of a log that want some of them."""

    def __init__(self, folder: Path, row_bytes: int, num_rows: int, num_segments: int, seed: int) -> None:
        print(f"seed {seed}")
        chance = np.random.default_rng(seed)
        self.folder = folder
        self.rows = chance.integers(0, 256, (num_rows, row_bytes), dtype=np.uint8)
        wanted = [np.flatnonzero(chance.random(num_rows) < 0.2).astype(np.uint32) for _ in range(num_segments)]
        offsets, end = [], 0
        for keys in wanted:
            offsets.append(-(-end // 4096) * 4096 + int(chance.integers(4096)))
            end = offsets[-1] + len(keys) * row_bytes
        begins = np.concatenate(([0], np.cumsum([len(keys) for keys in wanted])))
        self.misses = Misses(np.concatenate(wanted), begins, np.array(offsets, np.int64), row_bytes)
        with BlockWriter(folder / "rows.blk", "rows") as writer:
            writer.append(self.rows)
            self.entry = writer.finish()

    def expected(self) -> AnyArray:
        log = np.zeros(self.misses.log_bytes, np.uint8)
        for (first, last), offset in zip(pairwise(self.misses.begins), self.misses.offsets, strict=True):
            part = self.rows[self.misses.keys[first:last]].reshape(-1)
            log[offset : offset + len(part)] = part
        return log

    def pack(
        self, tick: Any = None, packer: type[LogPacker] = LogPacker, **options: int
    ) -> tuple[FileEntry, LogPacker]:
        with (
            StorageReader(Accountant(1 << 30), "pread") as reader,
            reader.open(self.folder / "rows.blk", self.entry) as table,
        ):
            made = packer(
                reader,
                table,
                len(self.rows),
                self.misses,
                self.folder / "log.blk",
                self.folder / "pack",
                options.pop("memory_bytes", MEMORY),
                **options,
            )
            return made.run(tick or (lambda done: None)), made

    def packed(self, entry: FileEntry) -> AnyArray:
        with StorageReader(Accountant(1 << 30), "pread") as reader, reader.open(self.folder / "log.blk", entry) as log:
            log.native.verify_all(reader.arena)
            return log.read(0, log.payload_bytes)


@pytest.mark.parametrize("row_bytes", [4, 36, 512, 5000])
def test_a_log_packed_in_one_level_holds_each_segments_rows(tmp_path: Path, row_bytes: int) -> None:
    problem = Problem(tmp_path, row_bytes, 60_000 // row_bytes + 400, 9, seed=row_bytes)

    entry, packer = problem.pack(memory_bytes=8 << 20)

    assert packer.num_groups == 1
    assert np.array_equal(problem.packed(entry), problem.expected())


@pytest.mark.parametrize("row_bytes", [36, 512, 5000])
def test_a_log_packed_in_two_levels_is_the_same(tmp_path: Path, row_bytes: int) -> None:
    problem = Problem(tmp_path, row_bytes, 300_000 // row_bytes + 400, 30, seed=row_bytes)

    entry, packer = problem.pack(run_bytes=200_000)

    assert packer.num_groups > 1
    assert np.array_equal(problem.packed(entry), problem.expected())
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["pack.json"]


def test_each_row_is_stored_once_per_group_while_packing(tmp_path: Path) -> None:
    problem = Problem(tmp_path, 512, 1000, 30, seed=3)
    groups = choose_groups(problem.misses, MEMORY, 200_000)

    unions = [
        np.unique(problem.misses.keys[problem.misses.begins[first] : problem.misses.begins[last]])
        for first, last in pairwise(groups)
    ]

    rows = sum(map(len, unions))
    assert rows * 512 < temporary_bytes(problem.misses, groups) < rows * 516 + 100_000
    assert temporary_bytes(problem.misses, np.array([0, 30])) == 0


def test_memory_that_holds_no_segment_is_refused(tmp_path: Path) -> None:
    problem = Problem(tmp_path, 512, 1000, 30, seed=4)

    with pytest.raises(ResourceExhausted, match="expected at least"):
        problem.pack(memory_bytes=10_000)


@pytest.mark.parametrize("run_bytes", [1, 200_000])
def test_a_log_without_rows_is_a_file_without_payload(tmp_path: Path, run_bytes: int) -> None:
    problem = Problem(tmp_path, 512, 100, 1, seed=5)
    none = np.zeros(0, np.int64)
    problem.misses = Misses(np.zeros(0, np.uint32), np.zeros(1, np.int64), none, 512)

    entry, _ = problem.pack(run_bytes=run_bytes)

    assert problem.packed(entry).size == 0


class MortalPacker(LogPacker):
    """Dies at its n-th note, just before or just behind writing it."""

    notes_to_live = 0
    dies_before = False

    def _note(self, **fields: Any) -> None:
        self.notes_to_live -= 1
        if self.notes_to_live < 0 and self.dies_before:
            raise Cancelled("before a note")
        super()._note(**fields)
        if self.notes_to_live < 0:
            raise Cancelled("behind a note")


@pytest.mark.parametrize("run_bytes", [1, 200_000])
@pytest.mark.parametrize("seed", range(4))
def test_packing_that_dies_at_random_notes_goes_on(tmp_path: Path, seed: int, run_bytes: int) -> None:
    problem = Problem(tmp_path, 700, 3000, 30, seed=seed)
    chance = np.random.default_rng(seed)

    deaths, entry = 0, None
    while entry is None:
        life = {"notes_to_live": int(chance.integers(5)), "dies_before": bool(chance.integers(2))}
        packer = type("Packer", (MortalPacker,), life)
        try:
            entry, _ = problem.pack(packer=packer, run_bytes=run_bytes, checkpoint_bytes=300_000)
        except Cancelled:
            deaths += 1
            assert deaths < 200, "never comes to an end"

    assert deaths > 0
    assert np.array_equal(problem.packed(entry), problem.expected())


@pytest.mark.parametrize("seed", range(4))
def test_packing_that_goes_on_with_another_memory_is_right_too(tmp_path: Path, seed: int) -> None:
    problem = Problem(tmp_path, 700, 3000, 30, seed=seed)
    chance = np.random.default_rng(seed)

    for notes_to_live in (int(chance.integers(1, 8)), int(chance.integers(1, 8))):
        life = {"notes_to_live": notes_to_live, "dies_before": False}
        packer = type("Packer", (MortalPacker,), life)
        with pytest.raises(Cancelled):
            problem.pack(packer=packer, run_bytes=200_000, checkpoint_bytes=300_000)
        with pytest.raises(Cancelled):
            problem.pack(packer=packer, memory_bytes=3 * MEMORY // 2, run_bytes=1, checkpoint_bytes=300_000)
    entry, _ = problem.pack(memory_bytes=16 << 20)

    assert np.array_equal(problem.packed(entry), problem.expected())


def test_a_finished_log_is_not_packed_again(tmp_path: Path) -> None:
    problem = Problem(tmp_path, 512, 1000, 5, seed=6)
    first, _ = problem.pack()

    again, packer = problem.pack()

    assert again == first
    assert (packer.cost.read_bytes, packer.cost.written_bytes) == (0, 0)


def test_what_a_callback_raises_ends_the_packing(tmp_path: Path) -> None:
    problem = Problem(tmp_path, 512, 1000, 5, seed=7)

    def tick(done: float) -> None:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        problem.pack(tick)


def test_a_file_of_another_size_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "log.blk"
    native.ExtentFile(str(path), 10_000, False)

    with pytest.raises(Exception, match="expected 24576 bytes, found 20480"):
        native.ExtentFile(str(path), 12_289, True)
