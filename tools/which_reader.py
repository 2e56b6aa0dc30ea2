"""Read a block file and say which reader served it: `which_reader.py io_uring` fails when it was another one.

The continuous integration proves with it that both readers ran. OUTCROP_READER chooses as it does everywhere.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.errors import OutcropError
from outcrop.store import BlockWriter

PAYLOAD = np.arange(1 << 18, dtype=np.uint32).view(np.uint8)


def read_back(reader: native.BlockReader, folder: Path) -> None:
    """Write a block file below `folder` and read all of it through `reader`, in 64 ranges."""
    path = folder / "which_reader.blk"
    with BlockWriter(path, "vectors") as writer:
        writer.append(PAYLOAD)
        writer.finish()
    lengths = np.full(64, PAYLOAD.size // 64, dtype=np.int64)
    found = np.empty_like(PAYLOAD)
    arena = native.BufferArena(1 << 20)
    native.BlockFile(reader, str(path)).read_ranges(np.cumsum(lengths) - lengths, lengths, found, 0, arena)
    assert np.array_equal(found, PAYLOAD)


def main(expected: str) -> str | None:
    """Return why the proof failed, or None."""
    try:
        reader = native.BlockReader()
        with tempfile.TemporaryDirectory(prefix=".which-reader-", dir=".") as folder:
            read_back(reader, Path(folder))
    except OutcropError as error:
        return f"which_reader: {expected} did not serve: {error}"
    served = reader.statistics()
    print(f"which_reader: {reader.kind} served {served.reads} reads, {served.bytes} bytes: {reader.reason}", flush=True)
    if reader.kind != expected or served.reads == 0:
        return f"which_reader: expected {expected}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
