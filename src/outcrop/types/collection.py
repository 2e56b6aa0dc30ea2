"""What a collection of vectors is, what it is made of, and how it does."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types.arrays import AnyArray
from outcrop.types.storage import MemoryStatistics, ReaderStatistics


class VectorSource(Protocol):
    """Rows to build from, read in any order and more than once. `outcrop.datasets.vectors.open_vectors` returns one."""

    @property
    def num_rows(self) -> int:
        """How many vectors there are."""
        ...

    @property
    def dim(self) -> int:
        """The dimension of each."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """float32, float16, uint8 or int8."""
        ...

    def read(self, start: int, stop: int) -> AnyArray:
        """Return rows [start, stop) as a C-contiguous array [stop - start, dim]."""
        ...


METRICS = ("l2", "ip", "cosine")
DTYPES = ("float32", "float16", "uint8", "int8")
ID_TYPES = ("int64", "string")
MAX_DIM = 32_768


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """dim: 1 to 32,768. metric: l2, ip (inner product) or cosine. dtype: of the stored vectors. id_type: int64 or
    string.

    Cosine is the inner product of vectors normalised when they enter; bytes cannot be normalised in place, so a cosine
    collection stores float32 or float16.
    """

    dim: int
    metric: str = "l2"
    dtype: str = "float32"
    id_type: str = "int64"

    def __post_init__(self) -> None:
        _require_one_of("metric", self.metric, METRICS)
        _require_one_of("dtype", self.dtype, DTYPES)
        _require_one_of("id_type", self.id_type, ID_TYPES)
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or not 1 <= self.dim <= MAX_DIM:
            raise InvalidArgument(f"dim: expected 1 to {MAX_DIM}, found {self.dim!r}")
        if self.metric == "cosine" and self.dtype in ("uint8", "int8"):
            raise InvalidArgument(
                f"dtype: a cosine collection stores normalised vectors, expected float32 or float16, found {self.dtype}"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one stored vector."""
        return self.dim * int(np.dtype(self.dtype).itemsize)

    @property
    def core_metric(self) -> str:
        """The metric of the core: l2 or ip."""
        return "l2" if self.metric == "l2" else "ip"

    @property
    def centroid_dtype(self) -> str:
        """How centroids are stored: rounded to bytes among bytes, else float32."""
        return self.dtype if self.is_byte else "float32"

    @property
    def is_byte(self) -> bool:
        """Whether vectors are stored as 8-bit integers."""
        return self.dtype in ("uint8", "int8")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "CollectionSpec":
        """The inverse of `to_json`."""
        return CollectionSpec(**value)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgument(f"{name}: expected one of {', '.join(allowed)}, found {value!r}")


@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """Where an index's memory is, and how its cache does. All sizes in bytes; counts since it was opened or cleared."""

    centroid_bytes: int
    directory_bytes: int
    buffer_bytes: int
    cache_capacity_bytes: int
    cache_bytes: int
    cache_hits: int
    cache_misses: int
    cache_admitted: int
    cache_evicted: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a collection is and holds. `version` is None before its first build. files: sizes in bytes by name."""

    name: str
    spec: CollectionSpec
    version: int | None
    num_rows: int
    disk_bytes: int
    properties: dict[str, Any]
    files: dict[str, int]


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """Where a collection's memory is, how its cache does, and what the reader has read."""

    memory: MemoryStatistics
    index: IndexStatistics
    reader: ReaderStatistics
