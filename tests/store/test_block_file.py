import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, UnsupportedFormat
from outcrop.store import BlockWriter
from outcrop.store.format.block_file import BLOCK_BYTES, Header, file_size_bytes, pack_header, unpack_header

GOLDEN = Path(__file__).parents[1] / "golden"
HEADER = Header("vectors", 9000, 0x12345678, bytes(range(16)))

kinds = st.from_regex(r"[a-z][a-z0-9_-]{0,15}", fullmatch=True)
headers = st.builds(
    Header, kinds, st.integers(0, 1 << 50), st.integers(0, (1 << 32) - 1), st.binary(min_size=16, max_size=16)
)


def golden_module():
    spec = importlib.util.spec_from_file_location("make_block_file_v1", GOLDEN / "make_block_file_v1.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_checksum(body: bytes) -> bytes:
    return body[:4092] + native.crc32c(body[:4092]).to_bytes(4, "little")


@given(headers)
def test_what_is_packed_is_what_is_unpacked(header):
    block = pack_header(header)
    assert len(block) == BLOCK_BYTES
    assert unpack_header(block, "a.blk") == header


def test_the_size_counts_header_blocks_and_table():
    assert file_size_bytes(0) == 4096
    assert file_size_bytes(1) == 3 * 4096
    assert file_size_bytes(4096 * 1024) == 4096 * (1 + 1024 + 1)
    assert file_size_bytes(4096 * 1024 + 1) == 4096 * (1 + 1025 + 2)


@given(st.integers(0, BLOCK_BYTES * 8 - 1))
def test_every_flipped_bit_of_a_header_is_corruption(bit):
    block = bytearray(pack_header(HEADER))
    block[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptFile, match=r"a\.blk"):
        unpack_header(bytes(block), "a.blk")


def test_an_unknown_version_is_refused_naming_both():
    block = bytearray(pack_header(HEADER))
    block[8] = 2
    with pytest.raises(UnsupportedFormat, match=r"version 2, this release reads version 1"):
        unpack_header(with_checksum(bytes(block)), "a.blk")


@pytest.mark.parametrize(
    ("offset", "field"),
    [(12, "block_bytes"), (40, "num_data_blocks"), (48, "checksum_offset"), (60, "flags"), (80, "reserved")],
)
def test_a_field_that_disagrees_is_named_even_when_the_checksum_is_right(offset, field):
    block = bytearray(pack_header(HEADER))
    block[offset] ^= 1
    with pytest.raises(CorruptFile, match=field):
        unpack_header(with_checksum(bytes(block)), "a.blk")


@pytest.mark.parametrize("size", [0, 1, 4095])
def test_a_short_header_is_corruption(size):
    with pytest.raises(CorruptFile, match="expected 4096 bytes"):
        unpack_header(pack_header(HEADER)[:size], "a.blk")


@pytest.mark.parametrize("kind", ["", "Vectors", "a" * 17, "1st", "a b", "é"])
def test_a_kind_that_does_not_fit_is_refused_before_anything_is_written(kind, tmp_path):
    with pytest.raises(InvalidArgument, match="kind"):
        BlockWriter(tmp_path / "a.blk", kind)
    assert list(tmp_path.iterdir()) == []


def test_crc32c_is_castagnoli():
    assert native.crc32c(b"123456789") == 0xE3069283
    assert native.crc32c(b"6789", native.crc32c(b"12345")) == 0xE3069283


def test_the_golden_file_is_what_the_format_page_says_and_what_the_writer_writes(tmp_path):
    golden, made = (GOLDEN / "block_file_v1.blk").read_bytes(), golden_module()
    header = unpack_header(golden[:BLOCK_BYTES], "block_file_v1.blk")
    assert golden == made.block_file(made.golden_payload(), b"golden", bytes(range(16)))
    assert (header.kind, header.payload_bytes, header.file_id) == ("golden", 9000, bytes(range(16)))

    with BlockWriter(tmp_path / "a.blk", "golden") as writer:
        writer.append(made.golden_payload())
        entry = writer.finish()

    assert (tmp_path / "a.blk").read_bytes() == made.block_file(made.golden_payload(), b"golden", entry.file_id)
