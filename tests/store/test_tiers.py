from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.store.replacement_policies import lru_misses, s3_fifo_misses, sieve_misses

from outcrop.errors import CorruptFile, InvalidArgument, ResourceExhausted
from outcrop.store import Accountant, BlockWriter, StorageReader
from outcrop.store.tiers import TieredReader, TierOptions, VictimBuffer

MIB = 1 << 20
NUM_ROWS = 3000
ROW_BYTES = 200


@pytest.fixture
def rows():
    return np.random.default_rng(5).integers(0, 256, (NUM_ROWS, ROW_BYTES), dtype=np.uint8)


@pytest.fixture
def reader():
    with StorageReader(Accountant(64 * MIB)) as reader:
        yield reader


@pytest.fixture
def file(tmp_path, write_file, rows, reader):
    entry = write_file(tmp_path / "rows.blk", rows.tobytes(), "rows")
    with reader.open(tmp_path / "rows.blk", entry) as file:
        yield file


def skewed_trace(seed, num_requests, keys_per_request, num_rows=NUM_ROWS):
    """Requests of unique keys whose frequencies fall as a power of their rank, as those of a sampled graph do."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, num_rows + 1) ** 0.7
    weights = random.permutation(weights / weights.sum())
    return [
        random.choice(num_rows, keys_per_request, replace=False, p=weights).astype(np.uint32)
        for _ in range(num_requests)
    ]


def serve(tiers, trace, window, rows=None):
    """Read a trace through a window of announced requests; compare with `rows`."""
    announced = 0
    for request, keys in enumerate(trace):
        while announced < min(len(trace), request + window):
            assert tiers.announce(trace[announced]) == announced
            announced += 1
        out = np.empty((len(keys), tiers.row_bytes), np.uint8)
        tiers.read(request, out)
        if rows is not None:
            np.testing.assert_array_equal(out, rows[keys])
    return tiers.statistics()


def test_rows_are_the_files_whatever_tier_served_them(reader, file, rows, tmp_path, seed):
    trace = skewed_trace(seed, 30, 400)
    trace[7] = np.concatenate([trace[7], trace[7][:50]])  # repeated keys
    options = TierOptions(
        cache_rows=300,
        hot_keys=np.arange(0, NUM_ROWS, 50, dtype=np.uint32),
        victim_memory_bytes=2 * MIB,
        victim_disk_bytes=2 * MIB,
        scratch_folder=tmp_path,
    )
    with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=options) as tiers:
        found = serve(tiers, trace, 6, rows)
    assert found.rows == sum(map(len, trace))
    served = (found.hot_rows, found.cache_rows, found.victim_rows, found.master_rows)
    assert found.rows == sum(served) + found.repeated_rows
    assert min(*served, found.ahead_rows) > 0


@pytest.mark.parametrize("percent", [1, 2, 5, 10, 20, 35, 50])
def test_the_cache_misses_less_than_lru_sieve_and_s3_fifo_at_every_size(reader, file, percent):
    trace = skewed_trace(11, 60, 300)
    accesses = np.concatenate(trace).tolist()
    capacity = NUM_ROWS * percent // 100
    counts = Counter(np.concatenate(skewed_trace(12, 60, 300)).tolist())  # another epoch's, as pre-sampling has them
    scores = np.array([counts[key] for key in range(NUM_ROWS)], np.uint16)
    options = TierOptions(cache_rows=capacity)
    with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=options) as tiers:
        tiers.set_scores(scores)
        found = serve(tiers, trace, 8)
    peers = {policy.__name__: policy(accesses, capacity) for policy in (lru_misses, sieve_misses, s3_fifo_misses)}
    assert found.cache_misses < min(peers.values()), peers


def test_the_victim_buffer_takes_rows_from_the_master_file(reader, file, rows, tmp_path):
    trace = skewed_trace(3, 40, 400)
    found = {}
    for name, disk_bytes, memory_bytes in (("without", 0, 0), ("memory", 0, 2 * MIB), ("disk", 8 * MIB, 2 * MIB)):
        options = TierOptions(
            cache_rows=150,
            victim_memory_bytes=memory_bytes,
            victim_disk_bytes=disk_bytes,
            scratch_folder=tmp_path,
            longest_group=1,
        )
        with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=options) as tiers:
            found[name] = serve(tiers, trace, 8, rows)
    assert found["without"].cache_misses == found["memory"].cache_misses == found["disk"].cache_misses
    assert found["without"].victim_rows == 0
    assert found["without"].master_rows > 1.5 * found["memory"].master_rows
    assert found["memory"].master_rows >= found["disk"].master_rows


def test_one_pass_serves_several_requests_and_reads_fewer_bytes(reader, file, rows, tmp_path):
    trace = skewed_trace(3, 40, 400)
    found = {}
    for longest_group in (1, 8):
        options = TierOptions(cache_rows=100, victim_memory_bytes=4 * MIB, longest_group=longest_group)
        with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=options) as tiers:
            found[longest_group] = serve(tiers, trace, 8, rows)
    assert found[1].sweeps == 40
    assert found[8].sweeps < 20
    assert found[8].grouped_requests > 20
    assert found[8].device_bytes < found[1].device_bytes / 2


def test_all_memory_is_the_budgets_and_comes_back(reader, file, tmp_path):
    before = reader.memory.statistics().reserved_bytes
    options = TierOptions(cache_rows=100, victim_memory_bytes=1 * MIB)
    with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=options) as tiers:
        held = reader.memory.statistics().reserved_bytes - before
        assert held == options.memory_bytes(NUM_ROWS, ROW_BYTES)
        assert held > 100 * ROW_BYTES + 1 * MIB
        tiers.announce(np.arange(1000, dtype=np.uint32))
        assert reader.memory.statistics().reserved_bytes > before + held
        tiers.read(0, np.empty((1000, ROW_BYTES), np.uint8))
        assert reader.memory.statistics().reserved_bytes == before + held
    assert reader.memory.statistics().reserved_bytes == before
    with pytest.raises(ResourceExhausted, match="tiers asked for"):
        TieredReader(
            reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions(victim_memory_bytes=1 << 30)
        )
    with pytest.raises(ResourceExhausted, match="no room"):
        VictimBuffer(reader, 512, 4 * MIB, 1 << 44, tmp_path)
    assert reader.memory.statistics().reserved_bytes == before


def test_wrong_calls_say_what_was_expected(reader, file, tmp_path):
    with pytest.raises(InvalidArgument, match="needs a folder"):
        TieredReader(
            reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions(victim_disk_bytes=1 * MIB)
        )
    with pytest.raises(InvalidArgument, match="needs a folder"):
        VictimBuffer(reader, 512, 4 * MIB, 1 * MIB)
    with pytest.raises(InvalidArgument, match="expected at least 1048576"):
        VictimBuffer(reader, 512, 1000)
    with TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions()) as tiers:
        with pytest.raises(InvalidArgument, match="not announced"):
            tiers.read(0, np.empty((0, ROW_BYTES), np.uint8))
        with pytest.raises(InvalidArgument, match="3000 rows"):
            tiers.announce(np.array([NUM_ROWS], np.uint32))
        tiers.announce(np.array([5, 7], np.uint32))
        with pytest.raises(InvalidArgument, match="2 rows of 200"):
            tiers.read(0, np.empty((3, ROW_BYTES), np.uint8))


def test_a_damaged_row_is_found_and_the_reader_stops(tmp_path, write_file, rows, reader):
    path = tmp_path / "rows.blk"
    entry = write_file(path, rows.tobytes(), "rows")
    data = bytearray(path.read_bytes())
    data[4096 + 70] ^= 1
    path.write_bytes(data)
    with (
        reader.open(path, entry) as file,
        TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions()) as tiers,
    ):
        tiers.announce(np.array([0], np.uint32))
        tiers.announce(np.array([999], np.uint32))
        with pytest.raises(CorruptFile, match=r"rows\.blk"):
            tiers.read(0, np.empty((1, ROW_BYTES), np.uint8))
        with pytest.raises(InvalidArgument, match="make a new reader"):
            tiers.read(1, np.empty((1, ROW_BYTES), np.uint8))


class VictimBufferModel(RuleBasedStateMachine):
    """A dict of dicts: what was accepted comes back once, as it was, and budgets hold."""

    ROW = 9000
    EXTENT = 256 * 1024

    def __init__(self):
        super().__init__()
        self.reader = StorageReader(Accountant(16 * MIB))
        self.memory = 6 * self.EXTENT
        self.buffer = VictimBuffer(self.reader, self.ROW, self.memory, 8 * self.EXTENT, self.folder)
        self.now = 0
        self.model: dict[int, dict[int, bytes]] = {}

    @rule(ahead=st.integers(0, 4), start=st.integers(0, 1000), n=st.integers(1, 60), value=st.integers(0, 255))
    def put(self, ahead, start, n, value):
        inbox = self.model.setdefault(self.now + ahead, {})
        keys = np.array([key for key in range(start, start + n) if key not in inbox], np.uint32)
        rows = np.full((len(keys), self.ROW), value, np.uint8)
        rows[:, 5] = keys % 251
        kept = self.buffer.put(self.now + ahead, keys, rows)
        inbox.update((int(keys[i]), rows[i].tobytes()) for i in range(kept))

    @rule(ahead=st.integers(0, 2))
    def prefetch(self, ahead):
        self.buffer.prefetch(self.now + ahead)

    @rule(skipped=st.integers(0, 1))
    def take(self, skipped):
        self.now += skipped
        keys, rows = self.buffer.take(self.now)
        assert rows.shape == (len(keys), self.ROW)
        found = {int(key): row.tobytes() for key, row in zip(keys, rows, strict=True)}
        assert len(found) == len(keys)
        assert found == self.model.pop(self.now, {})
        self.now += 1

    @precondition(lambda self: self.now > 0)
    @rule()
    def put_too_late(self):
        with pytest.raises(InvalidArgument, match="comes next"):
            self.buffer.put(self.now - 1, np.array([1], np.uint32), np.zeros((1, self.ROW), np.uint8))

    @invariant()
    def budgets_hold(self):
        found = self.buffer.statistics()
        assert found.peak_memory_bytes <= self.memory
        assert found.peak_disk_bytes <= 8 * self.EXTENT
        waiting = sum(len(inbox) for request, inbox in self.model.items() if request >= self.now)
        assert found.rows_waiting >= waiting

    def teardown(self):
        self.buffer.close()
        self.reader.close()


def test_victim_buffer_behaves_as_a_dict_of_dicts(tmp_path):
    VictimBufferModel.folder = tmp_path
    VictimBufferModel.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
    case = VictimBufferModel.TestCase()
    case.runTest()


def test_two_threads_take_turns(reader, file, rows):
    trace = skewed_trace(3, 20, 300)
    with (
        TieredReader(
            reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions(cache_rows=200)
        ) as tiers,
        ThreadPoolExecutor(1) as pool,
    ):
        tiers.announce(trace[0])
        for request, keys in enumerate(trace):
            coming = pool.submit(tiers.announce, trace[request + 1]) if request + 1 < len(trace) else None
            out = np.empty((len(keys), ROW_BYTES), np.uint8)
            tiers.read(request, out)
            np.testing.assert_array_equal(out, rows[keys])
            assert coming is None or coming.result() == request + 1


def test_block_writer_is_what_makes_such_files(tmp_path, rows, reader):
    with BlockWriter(tmp_path / "made.blk", "rows") as writer:
        writer.append(rows)
        entry = writer.finish()
    with (
        reader.open(tmp_path / "made.blk", entry) as file,
        TieredReader(reader, file, num_rows=NUM_ROWS, row_bytes=ROW_BYTES, options=TierOptions()) as tiers,
    ):
        tiers.announce(np.array([2999, 0, 2999], np.uint32))
        out = np.empty((3, ROW_BYTES), np.uint8)
        tiers.read(0, out)
        np.testing.assert_array_equal(out, rows[[2999, 0, 2999]])
