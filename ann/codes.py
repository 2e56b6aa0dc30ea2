"""Codes: what a posting list holds of each vector. Each one trains on a sample, encodes rows, and bounds its own error.

The scan of a code is a kernel of the core, chosen by name when the index is opened (core/search/query_scan.hpp).
"""

from typing import Any, Protocol

import numpy as np

from outcrop import native
from outcrop.errors import CorruptFile, InvalidArgument, UnsupportedFormat
from outcrop.types import AnyArray, CollectionSpec, Float32Array, UInt8Array, as_float32

CODES = ("raw", "sq8")

# Below this dimension a raw float vector is so short that a second read for it costs more than it saves.
_SHORTEST_FOR_SQ8 = 32


class Code(Protocol):
    """One way to write vectors into posting lists."""

    name: str
    code_bytes: int
    # Whether the code is the vector itself: then there is no second file and no re-rank.
    lossless: bool
    # The largest |x - decoded x| (Euclidean) of all rows encoded so far: the bound of every distance's error.
    error: float

    def encode(self, rows: AnyArray) -> UInt8Array:
        """Return codes uint8 [n, code_bytes] of stored rows [n, dim]."""
        ...

    def tables(self) -> tuple[Float32Array, Float32Array]:
        """Return the trained tables (lower, step) float32 [dim], or two empty arrays."""
        ...


class RawCode:
    """The vectors themselves."""

    name = "raw"
    lossless = True
    error = 0.0

    def __init__(self, spec: CollectionSpec) -> None:
        self.code_bytes = spec.row_bytes

    def encode(self, rows: AnyArray) -> UInt8Array:
        """Return the rows' bytes."""
        return np.ascontiguousarray(rows).view(np.uint8)

    def tables(self) -> tuple[Float32Array, Float32Array]:
        """There is nothing to train."""
        return np.empty(0, np.float32), np.empty(0, np.float32)


class Sq8Code:
    """8-bit scalar quantisation: a byte per dimension between the smallest and the largest value of that dimension."""

    name = "sq8"
    lossless = False

    def __init__(self, lower: Float32Array, upper: Float32Array) -> None:
        """lower, upper: float32 [dim], the bounds of the data; values beyond them are held to the bounds."""
        step = ((upper.astype(np.float64) - lower) / 255).astype(np.float32)
        self._lower, self._step = np.ascontiguousarray(lower), step
        self._quantizer = native.Sq8(self._lower, step)
        self.code_bytes = lower.size
        self.error = 0.0

    def encode(self, rows: AnyArray) -> UInt8Array:
        """Return the codes, and remember the largest error."""
        codes, errors = self._quantizer.encode(as_float32(rows))
        if len(errors):
            self.error = max(self.error, float(errors.max()))
        return codes

    def tables(self) -> tuple[Float32Array, Float32Array]:
        """Return (lower, step)."""
        return self._lower, self._step


def choose_code(spec: CollectionSpec, name: str) -> str:
    """Return the code that `auto` means, or `name` itself. Raises InvalidArgument for a code that does not fit the
    dtype."""
    if name == "auto":
        return "raw" if spec.is_byte or spec.dim < _SHORTEST_FOR_SQ8 else "sq8"
    if name not in CODES:
        raise InvalidArgument(f"code: expected auto, {' or '.join(CODES)}, found {name!r}")
    if name == "sq8" and spec.is_byte:
        raise InvalidArgument(f"code: sq8 would store {spec.dtype} vectors in as many bytes as raw does; use raw")
    return name


def make_code(spec: CollectionSpec, name: str, lower: Float32Array, upper: Float32Array) -> Code:
    """Return a code trained on the bounds of the data."""
    return RawCode(spec) if name == "raw" else Sq8Code(lower, upper)


def check_known(properties: dict[str, Any]) -> None:
    """Raise UnsupportedFormat when a manifest names a code that this release does not have."""
    if properties["code"] not in CODES:
        raise UnsupportedFormat(f"code {properties['code']!r}: this release knows {', '.join(CODES)}; upgrade outcrop")


def disagreement(file: str, found: int, expected: int) -> CorruptFile:
    """Return the error for a file that does not belong to the version's directory."""
    return CorruptFile(f"{file}: holds {found} centroids, the directory has {expected}")
