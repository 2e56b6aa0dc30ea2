"""How much memory an open version can use, told from its manifest before anything of it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outcrop.store import FileEntry

# The share of what is left after the centroids that buffers for reads in flight may take, and the most per thread.
BUFFER_SHARE = 0.4
MOST_BUFFER_BYTES = 8 << 20
LARGEST_RANGE_BUFFER = 1 << 20
_SMALLEST_RANGE_BUFFER = 64 << 10
# Lists are made no longer than this unless a build is told otherwise.
_USUAL_LONGEST_LIST = 128 << 10
# What the cache keeps for a list beside its bytes: entry, slot and counter.
_BYTES_PER_CACHED_LIST = 96
# What a file, the directory's tables and rounding to blocks take beside their bytes.
_SLACK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes of budget. least: about what one thread needs without a cache. most: more than this is of no use."""

    least_bytes: int
    most_bytes: int

    def raised(self) -> "MemoryNeeds":
        """The same for a version that needs more than its manifest promises: one with lists of an unusual length."""
        return MemoryNeeds(2 * self.least_bytes, max(self.most_bytes, 2 * self.least_bytes))


def range_buffer_bytes(budget_bytes: int) -> int:
    """Return what a version's reads of ranges get of its budget."""
    return max(_SMALLEST_RANGE_BUFFER, min(LARGEST_RANGE_BUFFER, budget_bytes // 32))


def memory_needs(
    properties: Mapping[str, Any], files: Mapping[str, FileEntry], row_bytes: int, threads: int
) -> MemoryNeeds:
    """Return what a version needs. properties, files: of its manifest. row_bytes: of a vector. threads: that search."""
    resident = _SLACK_BYTES + sum(_resident_bytes(entry) for entry in files.values())
    lists = files["postings.blk"].size_bytes
    longest = max(row_bytes, min(lists, _USUAL_LONGEST_LIST))
    context = 2 * (longest // 4096 + 2) * 4096
    cache = lists + properties["num_lists"] * _BYTES_PER_CACHED_LIST
    # The index gives buffers a share of what is left, so that all lists fit in the rest.
    share = int(cache * BUFFER_SHARE / (1 - BUFFER_SHARE))
    buffers = max(threads * context, min(threads * MOST_BUFFER_BYTES, share))
    return MemoryNeeds(_with_range_buffer(resident + context), _with_range_buffer(resident + buffers + cache))


def _resident_bytes(entry: FileEntry) -> int:
    """The checksum table; of the small files also what is kept of them, and a tenth for what faiss adds."""
    table = entry.size_bytes // 1000 + 1024
    return table + (entry.size_bytes * 11 // 10 if entry.name in ("directory.blk", "centroid_index.blk") else 0)


def _with_range_buffer(size_bytes: int) -> int:
    """The budget of which a version has `size_bytes` left beside its range buffer."""
    return size_bytes + max(_SMALLEST_RANGE_BUFFER, min(LARGEST_RANGE_BUFFER, size_bytes // 31 + 1))
