"""The sizes that follow from what a build is asked."""

from dataclasses import dataclass

from outcrop.ann.codes import choose_code
from outcrop.types import BuildOptions, CollectionSpec

# A read of up to bandwidth / IOPS bytes (12.8 KB on the machine of the measurements) costs as much as a small one.
# Lists of 40 % of that leave room for the pages at both ends, and for two neighbours to share a read. At recall 0.95 on
# SIFT descriptors, lists of 5 KiB cost 467 KB a query and lists of 6 KiB 500 KB.
_LIST_BYTES = 5 << 10
# Lists shorter than this waste headers and centroids.
_FEWEST_PER_LIST = 8
# The share of the search memory that centroids and the directory may take; the rest is for reads and caches.
_CENTROID_SHARE = 0.45
# What search keeps per centroid beside its code: faiss's id, the list's offset, first list and radius.
_DIRECTORY_BYTES = 8 + 8 + 4 + 4
_LEAST_SEARCH_MEMORY = 8 << 20
# Copies that the sizing assumes before they are chosen.
_ASSUMED_COPIES = 2.5
# Disk used, as a multiple of the raw vectors, that the choice of copies stays below.
_MOST_DISK = {1: 3.9, 2: 3.4, 4: 2.4}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one build, fixed before it starts."""

    code: str
    code_bytes: int
    id_bytes: int
    row_bytes: int
    num_centroids: int
    list_size: float
    num_buckets: int
    batch_rows: int
    chunk_bytes: int
    sample_rows: int
    search_memory_bytes: int
    max_list_entries: int

    @property
    def record_bytes(self) -> int:
        """Bytes of one entry of a posting list, a copy's row included."""
        return self.code_bytes + self.id_bytes + self.row_bytes


def sizes_of(spec: CollectionSpec, options: BuildOptions, num_rows: int, max_id: int) -> Sizes:
    """Return the sizes that follow from the data and the budgets."""
    code = choose_code(spec, options.code)
    code_bytes = spec.row_bytes if code == "raw" else spec.dim
    id_bytes = 4 if max_id < 1 << 32 else 8
    row_bytes = 0 if code == "raw" else (4 if num_rows < 1 << 32 else 8)
    record = code_bytes + id_bytes + row_bytes
    search_memory = options.search_memory_bytes or max(_LEAST_SEARCH_MEMORY, num_rows * spec.row_bytes // 20)
    num_centroids = options.num_centroids or _num_centroids(spec, num_rows, record, search_memory)
    num_centroids = max(1, min(num_centroids, num_rows))
    num_buckets = max(1, min(round(num_centroids**0.5), 4096))
    batch_rows = max(256, min(65_536, options.memory_bytes // 16 // (4 * spec.dim)))
    sample_rows = min(num_rows, 256 * num_buckets, max(1024, options.memory_bytes // 4 // (4 * spec.dim)))
    return Sizes(
        code=code,
        code_bytes=code_bytes,
        id_bytes=id_bytes,
        row_bytes=row_bytes,
        num_centroids=num_centroids,
        list_size=num_rows / num_centroids,
        num_buckets=num_buckets,
        batch_rows=batch_rows,
        chunk_bytes=options.memory_bytes // 6,
        sample_rows=sample_rows,
        search_memory_bytes=search_memory,
        max_list_entries=max(1, (options.max_list_bytes - 128) // record),
    )


def most_copies(spec: CollectionSpec, sizes: Sizes) -> float:
    """Return how many entries per vector the disk allows, from the multiple of the raw vectors that the default keeps
    below."""
    width = spec.row_bytes // spec.dim
    raw_once = 0.0 if sizes.code == "raw" else 1.0 + 8 / spec.row_bytes
    return max(1.0, (_MOST_DISK[width] - raw_once) * spec.row_bytes / (sizes.record_bytes * 1.02))


def _num_centroids(spec: CollectionSpec, num_rows: int, record_bytes: int, search_memory: int) -> int:
    per_list = max(_FEWEST_PER_LIST, _LIST_BYTES / (record_bytes * _ASSUMED_COPIES))
    affordable = _CENTROID_SHARE * search_memory / (spec.dim + _DIRECTORY_BYTES)
    return int(min(num_rows / per_list, affordable))
