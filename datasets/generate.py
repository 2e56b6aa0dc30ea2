"""Realistic clustered vectors of any size from a seed, streamed: about as hard to search as real descriptors.

A row is drawn from a tree of clusters in a latent space of `intrinsic_dim` dimensions (three levels, 64 children each,
the k-th child holding a share proportional to 1/k), moved by local noise that decays over the dimensions, and bent into
the `dim` dimensions by one hidden layer, so that the clusters lie on a curved sheet as those of real data do. A little
noise in every dimension goes on top. Bytes are non-negative and skewed, as SIFT's are; the other types are signed.

The spreads were fitted to 300,000 SIFT descriptors of photographs. Real data, then these (uint8, 128 dimensions,
seed 1), medians over 500 held-out queries:
    mean distance / distance to neighbour 1, 10, 100    2.16 1.84 1.65        2.10 1.84 1.64
    local intrinsic dimension, 20 and 100 neighbours    21.3 20.2             21.6 20.2
    recall@10, inverted file of 1,024 lists (faiss),
    at nprobe 1, 4, 16, 64                              0.28 0.60 0.88 0.99   0.32 0.63 0.87 0.98
"""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.datasets.source import ENGINE_DTYPES, Vectors, VectorSource
from outcrop.datasets.vectors import Progress, write_vectors
from outcrop.errors import InvalidArgument

CHUNK_ROWS = 8192
MAX_INTRINSIC_DIM = 256

_CHILDREN = 64
_LEVEL_SPREAD = (45, 35, 30)
_LOCAL_SPREAD = 45
_HIDDEN = 128
_WEIGHT_SPREAD = 40
_HIDDEN_BIAS = 30
_BASE, _QUERIES, _MODEL = range(3)

Float32Array = npt.NDArray[np.float32]


class VectorGenerator(VectorSource):
    """A source of `num_rows` generated vectors.

    dtype: uint8, int8, float32 or float16; the float rows have about unit length. seed: a whole number >= 0.
    Row i depends on (seed, dim, dtype, intrinsic_dim) and i alone: a longer set begins with the shorter one.
    Any read costs whole chunks of CHUNK_ROWS rows, so read in large pieces (more than 200,000 rows of 128 a second).
    All sums are of integers small enough to be exact in float32, so the same bytes come from any machine and any BLAS.
    """

    def __init__(
        self,
        num_rows: int,
        dim: int,
        dtype: npt.DTypeLike = np.uint8,
        seed: int = 0,
        intrinsic_dim: int = 40,
    ) -> None:
        if num_rows < 0 or dim < 1 or seed < 0:
            raise InvalidArgument(f"expected rows >= 0, dim >= 1, seed >= 0, found {num_rows}, {dim}, {seed}")
        if not 1 <= intrinsic_dim <= MAX_INTRINSIC_DIM:
            raise InvalidArgument(f"intrinsic_dim must be 1 to {MAX_INTRINSIC_DIM}, found {intrinsic_dim}")
        if np.dtype(dtype) not in ENGINE_DTYPES:
            raise InvalidArgument(f"dtype {np.dtype(dtype)} is not one of {', '.join(map(str, ENGINE_DTYPES))}")
        self.num_rows, self.dim, self.dtype = num_rows, dim, np.dtype(dtype)
        self.seed = seed
        self.format = "generated"
        self.path = None
        self._stream = _BASE
        self._law = _Law(dim, seed, intrinsic_dim)
        self._last: tuple[int, Vectors] | None = None

    def queries(self, num_rows: int) -> VectorGenerator:
        """Return `num_rows` held-out vectors of the same law, none of which is drawn from the rows of this source."""
        if num_rows < 0:
            raise InvalidArgument(f"expected rows >= 0, found {num_rows}")
        held_out = copy.copy(self)
        held_out.num_rows = num_rows
        held_out._stream = _QUERIES
        held_out._last = None
        return held_out

    def _read(self, start: int, stop: int) -> Vectors:
        rows = np.empty((stop - start, self.dim), dtype=self.dtype)
        for number in range(start // CHUNK_ROWS, -(-stop // CHUNK_ROWS)):
            first = number * CHUNK_ROWS
            begin, end = max(start, first), min(stop, first + CHUNK_ROWS)
            rows[begin - start : end - start] = self._chunk(number)[begin - first : end - first]
        return rows

    def _chunk(self, number: int) -> Vectors:
        last = self._last
        if last is None or last[0] != number:
            last = (number, self._make_chunk(number))
            self._last = last
        return last[1]

    def _make_chunk(self, number: int) -> Vectors:
        random = _random(self.seed, self._stream, number)
        return _finish(self._law.draw(random, CHUNK_ROWS), random, self.dtype)


def make_vectors(
    path: str | os.PathLike[str],
    num_rows: int,
    dim: int,
    dtype: npt.DTypeLike = np.uint8,
    seed: int = 0,
    format: str | None = None,
    num_queries: int = 0,
    queries_path: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> VectorGenerator:
    """Write generated vectors to `path`, and held-out queries to `queries_path` if given; return their source."""
    generator = VectorGenerator(num_rows, dim, dtype, seed)
    write_vectors(path, generator, format, dtype=dtype, progress=progress)
    if queries_path is not None:
        write_vectors(queries_path, generator.queries(num_queries), format, dtype=dtype)
    return generator


class _Law:
    """The cluster tree and the hidden layer: everything that all rows share."""

    def __init__(self, dim: int, seed: int, intrinsic_dim: int) -> None:
        random = _random(seed, _MODEL, 0)
        self.intrinsic_dim = intrinsic_dim
        self._centers = [
            _integers(random, (_CHILDREN ** (level + 1), intrinsic_dim), spread)
            for level, spread in enumerate(_LEVEL_SPREAD)
        ]
        shares = np.cumsum(1 / np.arange(1, _CHILDREN + 1))
        self._cumulative = shares / shares[-1]
        decay = 1 / np.sqrt(np.arange(1, intrinsic_dim + 1))
        self._local = (_LOCAL_SPREAD * decay / decay.mean()).astype(np.float32)
        self._inner = _integers(random, (intrinsic_dim, _HIDDEN), _WEIGHT_SPREAD).astype(np.float32)
        self._bias = _integers(random, (_HIDDEN,), _HIDDEN_BIAS).astype(np.float32)
        self._outer = _integers(random, (_HIDDEN, dim), _WEIGHT_SPREAD).astype(np.float32)

    def draw(self, random: np.random.Generator, num_rows: int) -> Float32Array:
        """Return float32 [num_rows, dim], signed, each dimension of standard deviation about 50."""
        latent = self._draw_latent(random, num_rows)
        # |latent| <= 255 and |weight| <= 127, so sums of up to 256 products stay below 2^24 and are exact in any order.
        hidden: Float32Array = np.matmul(latent, self._inner)
        hidden *= np.float32(1 / (_WEIGHT_SPREAD * np.sqrt(self.intrinsic_dim)))
        hidden += self._bias
        np.clip(np.rint(hidden, out=hidden), -127, 127, out=hidden)
        rows: Float32Array = np.matmul(hidden, self._outer)
        rows *= np.float32(1 / (_WEIGHT_SPREAD * np.sqrt(_HIDDEN)))
        return rows

    def _draw_latent(self, random: np.random.Generator, num_rows: int) -> Float32Array:
        latent = random.standard_normal((num_rows, self.intrinsic_dim), dtype=np.float32)
        latent *= self._local
        node = np.zeros(num_rows, dtype=np.int64)
        for centers in self._centers:
            node *= _CHILDREN
            node += np.searchsorted(self._cumulative, random.random(num_rows), side="right")
            latent += centers[node]
        np.clip(np.rint(latent, out=latent), -255, 255, out=latent)
        return latent


def _finish(rows: Float32Array, random: np.random.Generator, dtype: np.dtype[Any]) -> Vectors:
    """Add noise in every dimension and bring `rows` (overwritten) to the element type."""
    noise = random.integers(0, 256, rows.shape, dtype=np.uint8).astype(np.float32)
    noise -= np.float32(127.5)
    noise *= np.float32(14 / 128)
    rows *= np.float32(0.8)
    rows += noise
    if dtype == np.uint8:
        rows += np.float32(18)
        return np.clip(np.rint(rows, out=rows), 0, 255, out=rows).astype(dtype)
    if dtype == np.int8:
        return np.clip(np.rint(rows, out=rows), -127, 127, out=rows).astype(dtype)
    rows *= np.float32(1 / (_FLOAT_SPREAD * np.sqrt(rows.shape[1])))
    return rows.astype(dtype, copy=False)


_FLOAT_SPREAD = 59.0


def _integers(random: np.random.Generator, shape: tuple[int, ...], spread: int) -> npt.NDArray[np.int8]:
    """Draw whole numbers of about normal law, within 127 of zero."""
    drawn = random.standard_normal(shape, dtype=np.float32)
    drawn *= np.float32(spread)
    return np.clip(np.rint(drawn, out=drawn), -127, 127, out=drawn).astype(np.int8)


def _random(seed: int, stream: int, chunk: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, stream, chunk])))
