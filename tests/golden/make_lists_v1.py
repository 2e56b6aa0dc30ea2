"""Write the golden posting lists and directory of version 1. Run only for a new version; old files stay as they are.

python tests/golden/make_lists_v1.py
"""

from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.ann.directory import Directory

FOLDER = Path(__file__).parent
# Two lists of sq8 codes of 5 dimensions: three entries, one of them a copy; and two entries, both primary.
NUM_ENTRIES = np.array([3, 2], np.uint32)
NUM_PRIMARY = np.array([2, 2], np.uint32)
FIRST_ROWS = np.array([0, 2], np.uint64)
CODES = np.arange(25, dtype=np.uint8).reshape(5, 5)
IDS = np.array([7, 4_000_000_000, 11, 9, 11], np.int64)
ROWS = np.array([0, 1, 3, 2, 3], np.uint64)
SHAPE = {"code_bytes": 5, "id_bytes": 4, "row_bytes": 4}


def posting_lists() -> bytes:
    lengths = native.list_lengths(**SHAPE, num_entries=NUM_ENTRIES, num_primary=NUM_PRIMARY)
    out = np.empty(int(lengths.sum()), np.uint8)
    native.pack_lists(4, 4, 0, NUM_ENTRIES, NUM_PRIMARY, FIRST_ROWS, CODES, IDS, ROWS, out)
    return out.tobytes()


def directory() -> Directory:
    return Directory(
        np.array([0, 128, 256], np.uint64),
        np.array([0, 1, 2], np.uint32),
        np.array([1.5, 0.25], np.float32),
        np.linspace(-1, 1, 5, dtype=np.float32),
        np.full(5, 0.0078125, np.float32),
        0.00390625,
        4,
    )


if __name__ == "__main__":
    (FOLDER / "posting_lists_v1.bin").write_bytes(posting_lists())
    (FOLDER / "directory_v1.bin").write_bytes(directory().packed())
