"""The block readers through the door that the rest of the package uses; core/tests holds the faults and the corners."""

import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, ResourceExhausted, StorageFailure, UnsupportedFormat

FILE_ID = bytes(range(16))
BLOCK = 4096


def crc32c_by_bits(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def block_file_image(payload: bytes, kind: bytes = b"vectors", version: int = 1) -> bytes:
    """Return the bytes of a block file, as docs/formats/block_file.md has it."""
    num_blocks = -(-len(payload) // BLOCK)
    data = payload.ljust(num_blocks * BLOCK, b"\0")
    sums = [
        native.crc32c(struct.pack("<Q", block + 1) + data[block * BLOCK : (block + 1) * BLOCK])
        for block in range(num_blocks)
    ]
    table = struct.pack(f"<{num_blocks}I", *sums)
    fields = (b"OUTCROP\0", version, BLOCK, kind, len(payload), num_blocks, BLOCK * (1 + num_blocks))
    header = struct.pack("<8sII16sQQQII16s", *fields, native.crc32c(table), 0, FILE_ID).ljust(4092, b"\0")
    header += struct.pack("<I", native.crc32c(header))
    return header + data + table.ljust(-(-len(table) // BLOCK) * BLOCK, b"\0")


@pytest.fixture
def payload() -> bytes:
    return np.random.default_rng(3).integers(0, 256, 50 * BLOCK + 77, dtype=np.uint8).tobytes()


@pytest.fixture
def path(tmp_path: Path, payload: bytes) -> Path:
    path = tmp_path / "vectors.blk"
    path.write_bytes(block_file_image(payload))
    return path


def working_kinds() -> list[str]:
    kinds = ["pread", "memory"]
    try:
        native.BlockReader("io_uring")
    except StorageFailure:
        return kinds
    return ["io_uring", *kinds]


@pytest.fixture(params=working_kinds())
def reader(request: pytest.FixtureRequest) -> native.BlockReader:
    return native.BlockReader(request.param, queue_depth=8, num_threads=2)


@pytest.fixture
def arena() -> native.BufferArena:
    return native.BufferArena(1 << 20)


def read(file: native.BlockFile, ranges: list[tuple[int, int]], gap_bytes: int, arena: native.BufferArena) -> bytes:
    offsets = np.array([offset for offset, _ in ranges], dtype=np.int64)
    lengths = np.array([length for _, length in ranges], dtype=np.int64)
    out = np.zeros(int(lengths.sum()), dtype=np.uint8)
    file.read_ranges(offsets, lengths, out, gap_bytes, arena)
    return out.tobytes()


def test_crc32c_equals_the_definition_bit_by_bit() -> None:
    assert native.crc32c(b"123456789") == 0xE3069283
    data = np.random.default_rng(1).bytes(1000)
    for length in (0, 1, 7, 8, 9, 63, 1000):
        assert native.crc32c(data[:length]) == crc32c_by_bits(data[:length])


def test_crc32c_takes_any_contiguous_buffer_and_goes_on_from_a_crc() -> None:
    array = np.arange(100, dtype=np.float32)
    assert native.crc32c(array) == native.crc32c(array.tobytes()) == native.crc32c(memoryview(array.tobytes()))
    assert native.crc32c(b"456789", native.crc32c(b"123")) == native.crc32c(b"123456789")
    with pytest.raises(TypeError):
        native.crc32c("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contiguous"):
        native.crc32c(array[::2])


def test_block_checksums_cover_the_number_and_the_bytes_of_each_block() -> None:
    blocks = np.random.default_rng(2).integers(0, 256, 7 * BLOCK, dtype=np.uint8)
    found = native.block_checksums(blocks, 5)
    expected = [
        native.crc32c(struct.pack("<Q", 5 + i) + blocks[i * BLOCK : (i + 1) * BLOCK].tobytes()) for i in range(7)
    ]
    assert found.dtype == np.uint32
    assert found.tolist() == expected
    assert native.block_checksums(blocks[:0], 1).size == 0
    with pytest.raises(InvalidArgument, match="whole number of blocks"):
        native.block_checksums(blocks[:-1], 1)
    with pytest.raises(TypeError):
        native.block_checksums(blocks.view(np.int8), 1)


def test_block_file_tells_what_its_header_says(reader: native.BlockReader, path: Path, payload: bytes) -> None:
    file = native.BlockFile(reader, str(path), "vectors", FILE_ID)
    assert file.payload_bytes == len(payload)
    assert file.num_blocks == 51
    assert file.kind == "vectors"
    assert file.file_id == FILE_ID
    assert file.path == str(path)
    assert 4 * 51 <= file.resident_bytes < 4096


def test_read_ranges_gives_the_bytes_of_random_ranges(
    reader: native.BlockReader, path: Path, payload: bytes, arena: native.BufferArena
) -> None:
    file = native.BlockFile(reader, str(path))
    random = np.random.default_rng(4)
    for _ in range(30):
        begins = random.integers(0, len(payload), 20)
        ranges = [(int(b), int(random.integers(0, min(9000, len(payload) - b) + 1))) for b in begins]
        expected = b"".join(payload[offset : offset + length] for offset, length in ranges)
        assert read(file, ranges, int(random.integers(0, 20000)), arena) == expected
    assert arena.in_use == 0
    assert arena.peak > 0
    statistics = reader.statistics()
    assert statistics.reads > 0
    assert statistics.errors == 0


def test_read_usage_counts_reads_bytes_and_pages(path: Path, arena: native.BufferArena) -> None:
    file = native.BlockFile(native.BlockReader("pread"), str(path))
    offsets = np.array([0, 3 * BLOCK], dtype=np.int64)
    usage = file.read_ranges(offsets, np.array([1, 1]), np.zeros(2, np.uint8), 2 * BLOCK, arena)
    assert (usage.reads, usage.bytes, usage.pages) == (1, 4 * BLOCK, 2)


def test_read_ranges_converts_no_dtype_and_checks_its_arguments(path: Path, arena: native.BufferArena) -> None:
    file = native.BlockFile(native.BlockReader("pread"), str(path))
    one = np.array([1], dtype=np.int64)
    with pytest.raises(TypeError):
        file.read_ranges(one.astype(np.int32), one, np.zeros(1, np.uint8), 0, arena)
    with pytest.raises(TypeError):
        file.read_ranges(one, one, np.zeros(4, np.uint8)[::2], 0, arena)
    with pytest.raises(TypeError):
        file.read_ranges(one, one, np.frombuffer(b"x", np.uint8), 0, arena)  # not writable
    with pytest.raises(InvalidArgument, match="payload's end at 204877"):
        file.read_ranges(one + 10**9, one, np.zeros(1, np.uint8), 0, arena)
    with pytest.raises(InvalidArgument, match="sum of lengths, 1"):
        file.read_ranges(one, one, np.zeros(2, np.uint8), 0, arena)


def test_damage_is_reported_with_file_block_and_offset(
    reader: native.BlockReader, path: Path, arena: native.BufferArena
) -> None:
    image = bytearray(path.read_bytes())
    for block in (7, 30):
        image[block * BLOCK + 5] ^= 1
    path.write_bytes(image)
    file = native.BlockFile(reader, str(path))
    text = r"vectors\.blk: block 7 at offset 28672: checksum 0x[0-9a-f]{8}, expected 0x[0-9a-f]{8}"
    with pytest.raises(CorruptFile, match=text):
        read(file, [(0, 100_000)], 0, arena)
    with pytest.raises(CorruptFile, match=text):
        file.verify_all(arena)
    assert file.bad_blocks(arena).tolist() == [7, 30]
    assert read(file, [(100_000, 10)], 0, arena) == path.read_bytes()[104_096:104_106]


@pytest.mark.parametrize("length", [0, 100, 4096, 10 * BLOCK, -1, +1])
def test_a_file_of_another_length_is_corrupt(path: Path, length: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:length] if length != 1 else whole + b"\0")
    with pytest.raises(CorruptFile, match="bytes long"):
        native.BlockFile(native.BlockReader("pread"), str(path))


def test_wrong_kind_id_version_and_path_are_told_apart(path: Path, payload: bytes) -> None:
    reader = native.BlockReader("pread")
    with pytest.raises(CorruptFile, match="holds 'vectors', expected 'postings'"):
        native.BlockFile(reader, str(path), "postings")
    with pytest.raises(CorruptFile, match="file id"):
        native.BlockFile(reader, str(path), "vectors", bytes(16))
    with pytest.raises(InvalidArgument, match="16 bytes"):
        native.BlockFile(reader, str(path), "vectors", b"short")
    with pytest.raises(StorageFailure, match="No such file") as caught:
        native.BlockFile(reader, str(path) + "x")
    assert caught.value.errno == 2
    path.write_bytes(block_file_image(payload, version=9))
    with pytest.raises(UnsupportedFormat, match="version 9, this build reads version 1"):
        native.BlockFile(reader, str(path))


def test_verify_all_tells_its_progress_and_lets_its_exception_through(
    reader: native.BlockReader, path: Path, payload: bytes, arena: native.BufferArena
) -> None:
    file = native.BlockFile(reader, str(path))
    seen: list[int] = []
    file.verify_all(arena, seen.append, 64 * 1024)
    assert seen == sorted(seen)
    assert seen[-1] == len(payload)

    def stop(bytes_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file.verify_all(arena, stop, 1)
    assert arena.in_use == 0


def test_a_full_arena_is_resource_exhausted(path: Path) -> None:
    with pytest.raises(InvalidArgument, match="at least 1 byte"):
        native.BufferArena(0)
    file = native.BlockFile(native.BlockReader("pread"), str(path))
    small = native.BufferArena(1)
    assert small.capacity == BLOCK
    assert len(read(file, [(0, 30_000)], 0, small)) == 30_000
    with pytest.raises((ResourceExhausted, InvalidArgument)):
        native.BufferArena(1 << 60)


def test_concurrent_threads_read_one_file(reader: native.BlockReader, path: Path, payload: bytes) -> None:
    file = native.BlockFile(reader, str(path))
    failures: list[str] = []

    def work(seed: int) -> None:
        arena = native.BufferArena(1 << 18)
        random = np.random.default_rng(seed)
        for _ in range(40):
            offset = int(random.integers(0, len(payload) - 5000))
            if read(file, [(offset, 5000)], 0, arena) != payload[offset : offset + 5000]:
                failures.append(f"seed {seed}: offset {offset}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_reader_tells_its_kind_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCROP_READER", "memory")
    reader = native.BlockReader()
    assert (reader.kind, reader.reason, reader.notes) == ("memory", "OUTCROP_READER=memory", [])
    assert native.BlockReader("pread").reason == "pread was asked for"
    with pytest.raises(InvalidArgument, match="got 'tape'"):
        native.BlockReader("tape")
    with pytest.raises(InvalidArgument, match="queue_depth must be 1 to 4096"):
        native.BlockReader("pread", queue_depth=0)
    with pytest.raises(TypeError):
        native.BlockReader("pread", queue_depth=-1)


def test_probe_device_measures_every_figure(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_bytes(os.urandom(1 << 20))
    found = native.probe_device(str(path), 0.25, kind="pread")
    assert found.reader == "pread"
    assert found.file_bytes == 1 << 20
    for figure in (found.iops_depth_1, found.iops, found.iops_16k, found.iops_64k, found.sequential_bytes_per_s):
        assert figure > 0
    assert found.merge_gap_bytes == pytest.approx(found.sequential_bytes_per_s / found.iops)
    with pytest.raises(InvalidArgument, match="seconds"):
        native.probe_device(str(path), 0)
    path.write_bytes(bytes(5000))
    with pytest.raises(InvalidArgument, match="64 KiB"):
        native.probe_device(str(path), 0.1)
