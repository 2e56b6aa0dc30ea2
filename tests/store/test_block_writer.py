import errno
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, StorageFailure
from outcrop.store import BlockWriter, block_writer, os_calls
from outcrop.store.format.block_file import BLOCK_BYTES, file_size_bytes, unpack_header


def written(path, chunks) -> bytes:
    with BlockWriter(path, "vectors") as writer:
        for chunk in chunks:
            writer.append(chunk)
        entry = writer.finish()
    data = path.read_bytes()
    assert entry.size_bytes == len(data)
    return data


def check(data: bytes, payload: bytes) -> None:
    header = unpack_header(data[:BLOCK_BYTES], "a.blk")
    blocks = data[BLOCK_BYTES : header.checksum_offset_bytes]
    table = data[header.checksum_offset_bytes :]
    sums = [
        native.crc32c((b + 1).to_bytes(8, "little") + blocks[BLOCK_BYTES * b : BLOCK_BYTES * (b + 1)])
        for b in range(header.num_data_blocks)
    ]
    assert header.payload_bytes == len(payload)
    assert len(data) == file_size_bytes(len(payload))
    assert blocks == payload.ljust(len(blocks), b"\0")
    assert table == np.array(sums, "<u4").tobytes().ljust(len(table), b"\0")
    assert header.checksum_table_crc == native.crc32c(table[: 4 * header.num_data_blocks])


@given(st.lists(st.integers(0, 20_000), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_chunks_make_the_same_file(tmp_path_factory, sizes, random):
    chunks = [random.randbytes(size) for size in sizes]
    path = tmp_path_factory.mktemp("writer") / "a.blk"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_writer, "_BUFFER_BYTES", 2 * BLOCK_BYTES)  # so that small chunks cross its edges
        patch.setattr(block_writer, "_WINDOW_BYTES", 3 * BLOCK_BYTES)
        check(written(path, chunks), b"".join(chunks))


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_sizes_around_blocks_and_buffers_round_trip(tmp_path, size):
    payload = np.random.default_rng(size).bytes(size)
    check(written(tmp_path / "a.blk", [payload]), payload)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32, np.int64])
def test_arrays_of_any_type_and_shape_are_appended_as_their_bytes(tmp_path, dtype):
    rows = np.arange(3000).reshape(30, 100).astype(dtype)
    check(written(tmp_path / "a.blk", [rows, rows[:0]]), rows.tobytes())


def test_a_strided_array_is_refused(tmp_path):
    with BlockWriter(tmp_path / "a.blk", "vectors") as writer, pytest.raises(InvalidArgument, match="contiguous"):
        writer.append(np.zeros((4, 4))[:, ::2])


def test_a_writer_that_is_left_without_finish_leaves_no_file(tmp_path):
    with BlockWriter(tmp_path / "a.blk", "vectors") as writer:
        writer.append(b"x" * 5000)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_file_has_no_magic(tmp_path):
    writer = BlockWriter(tmp_path / "a.blk", "vectors")
    writer.append(bytes(2 << 20))
    assert (tmp_path / "a.blk").read_bytes()[:8] == bytes(8)
    writer.abort()


def test_two_files_of_the_same_bytes_have_different_ids(tmp_path):
    first, second = (written(tmp_path / name, [b"same"]) for name in ("a.blk", "b.blk"))
    assert first[64:80] != second[64:80]


@pytest.mark.parametrize("failing_step", ["create", "write", "fsync"])
def test_a_full_disk_is_a_storage_failure_with_its_errno_and_leaves_no_file(tmp_path, failing_step):
    def full(step, path, source):
        if step == failing_step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write():
        with BlockWriter(tmp_path / "a.blk", "vectors") as writer:
            writer.append(bytes(2 << 20))
            writer.finish()

    with os_calls.intercepted(full), pytest.raises(StorageFailure, match="No space") as failure:
        write()
    assert failure.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_short_writes_of_the_kernel_are_continued(tmp_path, monkeypatch):
    payload = np.random.default_rng(0).bytes(100_000)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[: max(1, len(data) // 3)], offset))
    check(written(tmp_path / "a.blk", [payload]), payload)


# Checkpoints


@given(st.lists(st.integers(0, 1_500_000), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 1 << 32))
@settings(max_examples=15, deadline=None)
def test_a_file_resumed_behind_a_checkpoint_is_what_one_pass_writes(tmp_path_factory, sizes, stop_at, seed):
    folder = tmp_path_factory.mktemp("checkpoints")
    payload = np.random.default_rng(seed).bytes(sum(sizes))
    pieces = [payload[end - size : end] for end, size in zip(np.cumsum(sizes).tolist(), sizes, strict=True)]
    path, sums = folder / "a.blk", folder / "a.sums"
    saved = []
    writer = BlockWriter(path, "vectors")
    for number, piece in enumerate(pieces):
        writer.append(piece)
        if number <= stop_at:
            saved.append(writer.checkpoint(sums))
    writer.keep()

    with BlockWriter.resumed(path, "vectors", sums, saved[seed % len(saved)]) as resumed:
        assert resumed.payload_bytes % BLOCK_BYTES == 0
        resumed.append(payload[resumed.payload_bytes :])
        resumed.checkpoint(sums)
        resumed.finish()

    check(path.read_bytes(), payload)


def test_a_checkpoint_covers_all_but_the_last_mebibyte(tmp_path):
    with BlockWriter(tmp_path / "a.blk", "vectors") as writer:
        writer.append(bytes((1 << 20) + 5000))
        assert writer.checkpoint(tmp_path / "a.sums") == (1 << 20) + 4096
        writer.append(bytes(10_000))
        assert writer.checkpoint(tmp_path / "a.sums") == (1 << 20) + 4096


def test_files_shorter_than_their_checkpoint_are_refused(tmp_path):
    path, sums = tmp_path / "a.blk", tmp_path / "a.sums"
    writer = BlockWriter(path, "vectors")
    writer.append(bytes(1 << 21))
    saved = writer.checkpoint(sums)
    writer.keep()
    for victim in (path, sums):
        whole = victim.read_bytes()
        victim.write_bytes(whole[:-1])
        with pytest.raises(CorruptFile, match=r"a\.blk: .* the checkpoint says 2097152 bytes of payload and 512"):
            BlockWriter.resumed(path, "vectors", sums, saved)
        victim.write_bytes(whole)
    BlockWriter.resumed(path, "vectors", sums, saved).abort()
    assert not path.exists()
