"""Writes block_file_v1.blk: the block file of version 1 that every later release must read. Never run again.

It packs the bytes by the page docs/formats/block_file.md alone and shares no code with the package.
"""

import struct
import sys
from pathlib import Path


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def block_file(payload: bytes, kind: bytes, file_id: bytes) -> bytes:
    data = payload.ljust(-(-len(payload) // 4096) * 4096, b"\0")
    num_blocks = len(data) // 4096
    sums = [crc32c(struct.pack("<Q", b + 1) + data[4096 * b : 4096 * b + 4096]) for b in range(num_blocks)]
    table = struct.pack(f"<{num_blocks}I", *sums)
    header = b"OUTCROP\0" + struct.pack("<II", 1, 4096) + kind.ljust(16, b"\0")
    header += struct.pack("<QQQII", len(payload), num_blocks, 4096 * (1 + num_blocks), crc32c(table), 0) + file_id
    header = header.ljust(4092, b"\0")
    header += struct.pack("<I", crc32c(header))
    return header + data + table.ljust(-(-len(table) // 4096) * 4096, b"\0")


def golden_payload() -> bytes:
    """9,000 bytes: two whole blocks and a part of one."""
    return bytes((i * i + 7 * i) % 251 for i in range(9000))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_bytes(block_file(golden_payload(), b"golden", bytes(range(16))))
