"""Posting lists and directories written by version 1 are read for ever, and what is written today is the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from tests.golden import make_lists_v1 as golden

from outcrop import native
from outcrop.ann.directory import unpack
from outcrop.errors import CorruptFile, UnsupportedFormat

FOLDER = Path(golden.__file__).parent
LISTS = (FOLDER / "posting_lists_v1.bin").read_bytes()
DIRECTORY = (FOLDER / "directory_v1.bin").read_bytes()


def read(number, begin, end, data=LISTS):
    return native.read_list(np.frombuffer(data, np.uint8)[begin:end].copy(), number, 5, 4, 4, "golden")


def test_the_bytes_written_today_are_the_golden_ones():
    assert golden.posting_lists() == LISTS
    assert golden.directory().packed() == DIRECTORY


def test_golden_posting_lists_are_read():
    bounds = unpack(np.frombuffer(DIRECTORY, np.uint8), "golden").list_offsets.tolist()
    ids, rows, num_primary, codes_at = read(0, bounds[0], bounds[1])
    assert (ids.tolist(), rows.tolist(), num_primary, codes_at) == ([7, 4_000_000_000, 11], [0, 1, 3], 2, 64)
    ids, rows, num_primary, _ = read(1, bounds[1], bounds[2])
    assert (ids.tolist(), rows.tolist(), num_primary) == ([9, 11], [2, 3], 2)


def test_a_golden_directory_is_read():
    found, made = unpack(np.frombuffer(DIRECTORY, np.uint8), "golden"), golden.directory()
    for name in ("list_offsets", "first_list", "radius", "lower", "step"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert (found.code_error, found.num_rows) == (made.code_error, made.num_rows)


def test_sections_and_versions_to_come_are_refused():
    later = bytearray(LISTS)
    later[30] = 4
    with pytest.raises(UnsupportedFormat, match="upgrade"):
        read(0, 0, 128, bytes(later))
    later = bytearray(DIRECTORY)
    later[8] = 2
    with pytest.raises(UnsupportedFormat, match="version 2"):
        unpack(np.frombuffer(bytes(later), np.uint8), "golden")
    with pytest.raises(CorruptFile, match="holds list 1"):
        read(0, 128, 256)
