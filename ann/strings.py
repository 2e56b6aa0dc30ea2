"""String ids: numbered 0, 1, 2 … inside, their text in a block file (docs/formats/directory.md)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from outcrop.errors import CorruptFile
from outcrop.stop import Stop
from outcrop.store import BlockWriter, FileEntry, StoredFile
from outcrop.types import Int64Array


def write_strings(path: Path, strings: list[str]) -> FileEntry:
    """Write strings.blk: offsets uint64 [n + 1], then the text."""
    encoded = [value.encode() for value in strings]
    offsets = np.zeros(len(encoded) + 1, np.uint64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    with BlockWriter(path, "strings") as writer:
        writer.append(offsets)
        writer.append(b"".join(encoded))
        return writer.finish()


def read_strings(
    file: StoredFile, num_strings: int, ids: Int64Array, stop: Stop | None = None
) -> npt.NDArray[np.object_]:
    """Return the text of ids of any shape as an object array; None where the id is -1. Two waves of reads for all of
    them."""
    out = np.full(ids.shape, None, object)
    wanted = np.unique(ids[ids >= 0])
    if not wanted.size:
        return out
    bounds = np.empty(wanted.size * 16, np.uint8)
    file.read_ranges(wanted * 8, np.full(wanted.size, 16), bounds, stop=stop)
    begins, ends = bounds.view(np.uint64).reshape(-1, 2).astype(np.int64).T
    lengths = ends - begins
    if (lengths < 1).any():
        raise CorruptFile(f"{file.path}: offsets of string ids go backwards")
    text = np.empty(int(lengths.sum()), np.uint8)
    file.read_ranges(begins + (num_strings + 1) * 8, lengths, text, stop=stop)
    ends_in_text = np.cumsum(lengths)
    decoded = {
        int(number): text[end - length : end].tobytes().decode()
        for number, end, length in zip(wanted, ends_in_text, lengths, strict=True)
    }
    for place, number in np.ndenumerate(ids):
        if number >= 0:
            out[place] = decoded[int(number)]
    return out
