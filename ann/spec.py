"""What a collection is: dimension, metric, the type of its vectors and ids. Fixed when it is created."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.types import AnyArray, Float32Array

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


def as_float32(rows: AnyArray) -> Float32Array:
    """Return rows as float32, C-contiguous; no copy where they already are."""
    return np.ascontiguousarray(rows, dtype=np.float32)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgument(f"{name}: expected one of {', '.join(allowed)}, found {value!r}")
