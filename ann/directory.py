"""The directory of a version: where each list lies, which lists a centroid owns, radii, and the code's tables.

The layout on disk is docs/formats/directory.md; search keeps it in memory.
"""

import struct
from dataclasses import dataclass

import numpy as np

from outcrop.errors import CorruptFile, UnsupportedFormat
from outcrop.types import Float32Array, UInt8Array

MAGIC = b"OUTDIR\0\0"
VERSION = 1
_HEADER = struct.Struct("<8sIIQQIfQ16x")

UInt32Array = np.ndarray[tuple[int], np.dtype[np.uint32]]
UInt64Array = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Directory:
    """list_offsets: uint64 [num_lists + 1], where each list begins in the payload of postings.blk, and the end.

    first_list: uint32 [num_centroids + 1]; centroid c owns the lists first_list[c] to first_list[c + 1].
    radius: float32 [num_centroids], Euclidean distance to the farthest entry; empty unless the metric is l2.
    lower, step: float32 [dim], the tables of sq8; empty for raw. code_error: the largest |x - decoded x|.
    num_rows: stored vectors.
    """

    list_offsets: UInt64Array
    first_list: UInt32Array
    radius: Float32Array
    lower: Float32Array
    step: Float32Array
    code_error: float
    num_rows: int

    @property
    def num_lists(self) -> int:
        """How many posting lists there are."""
        return len(self.list_offsets) - 1

    @property
    def num_centroids(self) -> int:
        """How many centroids there are."""
        return len(self.first_list) - 1

    @property
    def resident_bytes(self) -> int:
        """Memory that it takes, in bytes."""
        return sum(int(array.nbytes) for array in self._arrays())

    def packed(self) -> bytes:
        """Return the payload of directory.blk."""
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            len(self.radius),
            self.num_lists,
            self.num_centroids,
            len(self.lower),
            self.code_error,
            self.num_rows,
        )
        return header + b"".join(array.tobytes() for array in self._arrays())

    def _arrays(self) -> tuple[UInt64Array, UInt32Array, Float32Array, Float32Array, Float32Array]:
        return self.list_offsets, self.first_list, self.radius, self.lower, self.step


def unpack(data: UInt8Array, file: str) -> Directory:
    """Return the directory in the payload of directory.blk. Raises CorruptFile, UnsupportedFormat."""
    if len(data) < _HEADER.size or data[:8].tobytes() != MAGIC:
        raise CorruptFile(f"{file}: not a directory of posting lists")
    _, version, num_radii, num_lists, num_centroids, dim, code_error, num_rows = _HEADER.unpack(
        data[: _HEADER.size].tobytes()
    )
    if version != VERSION:
        raise UnsupportedFormat(f"{file}: directory version {version}; this release reads {VERSION}; upgrade outcrop")
    counts = [(num_lists + 1, "<u8"), (num_centroids + 1, "<u4"), (num_radii, "<f4"), (dim, "<f4"), (dim, "<f4")]
    expected = _HEADER.size + sum(count * np.dtype(dtype).itemsize for count, dtype in counts)
    if len(data) != expected:
        raise CorruptFile(f"{file}: its counts need {expected} bytes, it has {len(data)}")
    ends = np.cumsum([_HEADER.size] + [count * np.dtype(dtype).itemsize for count, dtype in counts])
    offsets, first_list, radius, lower, step = (
        data[begin:end].view(dtype).copy() for begin, end, (_, dtype) in zip(ends, ends[1:], counts, strict=False)
    )
    return Directory(offsets, first_list, radius, lower, step, code_error, num_rows)
