import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.errors import CorruptFile, InvalidArgument, ResourceExhausted
from outcrop.store import Accountant, BlockWriter, StorageReader

MIB = 1 << 20
PAYLOAD = np.random.default_rng(7).bytes(300_001)
ranges_of_payload = st.tuples(st.integers(0, len(PAYLOAD)), st.integers(0, 9000))
KINDS = ["pread", "memory", "auto"]


@pytest.fixture
def stored(tmp_path, write_file):
    path = tmp_path / "v.blk"
    return path, write_file(path, PAYLOAD)


@pytest.mark.parametrize("kind", KINDS)
@given(ranges=st.lists(ranges_of_payload, max_size=30), gap=st.integers(0, 50_000))
@settings(max_examples=30, deadline=None)
def test_ranges_are_slices_of_the_payload(tmp_path_factory, kind, ranges, gap):
    path = tmp_path_factory.mktemp("reader") / "v.blk"
    with BlockWriter(path, "vectors") as writer:
        writer.append(PAYLOAD)
        entry = writer.finish()
    offsets = np.array([offset for offset, _ in ranges], dtype=np.int64)
    lengths = np.array([min(length, len(PAYLOAD) - offset) for offset, length in ranges], dtype=np.int64)
    out = np.zeros(int(lengths.sum()), dtype=np.uint8)
    with StorageReader(Accountant(8 * MIB), kind=kind) as reader, reader.open(path, entry) as file:
        usage = file.read_ranges(offsets, lengths, out, gap)
    expected = b"".join(PAYLOAD[o : o + n] for o, n in zip(offsets.tolist(), lengths.tolist(), strict=True))
    assert out.tobytes() == expected
    assert usage.bytes >= 4096 * usage.pages
    assert usage.reads <= len(ranges) + usage.bytes // 4096


@pytest.mark.parametrize("kind", KINDS)
def test_reading_the_whole_and_parts(stored, kind):
    path, entry = stored
    with StorageReader(Accountant(8 * MIB), kind=kind) as reader, reader.open(path, entry) as file:
        assert file.payload_bytes == len(PAYLOAD)
        assert file.read(0, len(PAYLOAD)).tobytes() == PAYLOAD
        assert file.read(4095, 2).tobytes() == PAYLOAD[4095:4097]
        assert file.read(len(PAYLOAD), 0).size == 0
        with pytest.raises(InvalidArgument):
            file.read(len(PAYLOAD), 1)
        counters = reader.statistics()
        assert counters.reads > 0
        assert counters.read_bytes >= len(PAYLOAD)
        assert counters.errors == 0


def test_a_bad_block_is_named_with_both_checksums_and_the_others_are_read(stored):
    path, entry = stored
    data = bytearray(path.read_bytes())
    data[4096 * 12 + 5] ^= 1
    path.write_bytes(data)
    with StorageReader(Accountant(8 * MIB)) as reader, reader.open(path, entry) as file:
        with pytest.raises(CorruptFile, match=r"v\.blk: block 12 at offset 49152: checksum 0x\w{8}, expected 0x\w{8}"):
            file.read(0, len(PAYLOAD))
        assert file.read(4096 * 12, 100).tobytes() == PAYLOAD[4096 * 12 : 4096 * 12 + 100]


def test_a_file_of_another_entry_is_refused(stored, write_file, tmp_path):
    path, _ = stored
    other = write_file(tmp_path / "w.blk", PAYLOAD)
    memory = Accountant(8 * MIB)
    with StorageReader(memory) as reader:
        held = memory.statistics().reserved_bytes
        with pytest.raises(CorruptFile, match=r"v\.blk"):
            reader.open(path, other)
        assert memory.statistics().reserved_bytes == held


def test_buffers_and_tables_draw_from_the_budget_and_are_given_back(stored):
    path, entry = stored
    memory = Accountant(8 * MIB)
    with StorageReader(memory, buffer_bytes=MIB) as reader:
        with reader.open(path, entry) as file:
            assert dict(memory.statistics().owners) == {"read buffers": MIB, "checksum tables": file.resident_bytes}
            assert reader.statistics().table_bytes == file.resident_bytes >= 4 * 74
        assert dict(memory.statistics().owners) == {"read buffers": MIB}
        reader.open(path, entry)
    assert memory.statistics().reserved_bytes == 0
    reader.close()


def test_the_memory_reader_is_charged_for_whole_files(stored):
    path, entry = stored
    with StorageReader(Accountant(8 * MIB), kind="memory") as reader, reader.open(path, entry) as file:
        assert file.resident_bytes >= entry.size_bytes


def test_what_does_not_fit_the_budget_is_refused_before_it_is_read(stored):
    path, entry = stored
    with pytest.raises(ResourceExhausted, match="read buffers"):
        StorageReader(Accountant(MIB), buffer_bytes=2 * MIB)
    with StorageReader(Accountant(MIB + 100), buffer_bytes=MIB) as reader:
        with pytest.raises(ResourceExhausted, match="checksum tables"):
            reader.open(path, entry)
        assert reader.statistics().num_open_files == 0
