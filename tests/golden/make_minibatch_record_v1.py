"""Write the golden record of version 1. Run only for a new version; old files stay as they are.

python tests/golden/make_minibatch_record_v1.py

Two seeds of type 1, one of them given twice, draw three edges from type 0. One stream, for type 0: its first two rows
are missed, the third lies in slot 7; the second row enters the cache at slot 4.
"""

import struct
from pathlib import Path

RECORD = Path(__file__).parent / "minibatch_record_v1.bin"


def _array(item: str, *values: float) -> bytes:
    data = struct.pack(f"<{len(values)}{item}", *values)
    return data.ljust(-(-len(data) // 8) * 8, b"\0")


def record() -> bytes:
    tables = struct.pack("<4Q", 3, 3, 0, 0) + struct.pack("<4Q", 2, 3, 0, 0)
    tables += struct.pack("<6I2Q", 0, 0, 1, 0, 0, 2, 3, 3)
    tables += struct.pack("<4Q", 0, 2, 1, 1)
    arrays = _array("I", 10, 30, 40) + _array("Q", 0, 0, 3)
    arrays += _array("I", 5, 6) + _array("Q", 0, 2, 2)
    arrays += _array("I", 0, 2, 3) + _array("I", 1, 0, 2) + _array("Q", 100, 101, 250)
    arrays += _array("Q", 0, 0, 0, 2, 1, 4096) + _array("I", 7) + _array("I", 1) + _array("I", 4)
    arrays += _array("I", 0, 1, 0)
    size = 128 + len(tables) + len(arrays)
    header = b"MNBATCH1" + struct.pack("<10Q40x", size, 3, 7, 2, 1, 1, 1, 1, 3, 0)
    whole = header + tables + arrays
    return whole.ljust(-(-len(whole) // 4096) * 4096, b"\0")


if __name__ == "__main__":
    RECORD.write_bytes(record())
