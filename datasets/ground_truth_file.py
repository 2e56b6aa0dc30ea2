"""Files of nearest neighbours: big-ann-benchmarks' own form, or ids and distances in two vector files."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from outcrop.datasets.atomic_file import atomic_path
from outcrop.datasets.raw_file import RawFile, closing_on_error
from outcrop.datasets.source import Vectors
from outcrop.datasets.vectors import format_of, open_vectors, write_vectors
from outcrop.errors import CorruptFile, InvalidArgument

HEADER = struct.Struct("<II")
FORMATS = ("gt", "ivecs", "ibin", "npy", "hdf5")
_GT_EXTENSIONS = (".gt", ".bin")

Int64Array: TypeAlias = npt.NDArray[np.int64]
Float32Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The nearest rows of each query, nearest first.

    ids: int64 [num_queries, k]. distances: float32 [num_queries, k] as the file gives them, or None if it gives none.
    """

    ids: Int64Array
    distances: Float32Array | None

    @property
    def k(self) -> int:
        """Neighbours per query."""
        return int(self.ids.shape[1])


def read_ground_truth(path: str | os.PathLike[str], format: str | None = None) -> GroundTruth:
    """Read a file of neighbours.

    gt (.gt, .bin or no known extension): big-ann-benchmarks and DiskANN, u32 queries, u32 k, i32 ids, f32 distances.
    ivecs, ibin, npy: ids; distances come from a file beside it of the same name with `_dist` (`gt.npy`, `gt_dist.npy`;
    for ivecs `gt_dist.fvecs`, for ibin `gt_dist.fbin`) if there is one. hdf5: data sets neighbors and distances.
    Raises NotFound, CorruptFile when sizes disagree or an id is negative, InvalidArgument for anything else.
    """
    path = Path(path)
    format = format or _format_of(path)
    if format not in FORMATS:
        raise InvalidArgument(f"{path}: {format} is not a format of ground truth: {', '.join(FORMATS)}")
    truth = _read_gt(path) if format == "gt" else _read_pair(path, format)
    if truth.ids.size and truth.ids.min() < 0:
        row = int(np.flatnonzero((truth.ids < 0).any(axis=1))[0])
        raise CorruptFile(f"{path}: query {row} has the neighbour {truth.ids[row].min()}, expected ids >= 0")
    if truth.distances is not None and truth.distances.shape != truth.ids.shape:
        found = f"ids {list(truth.ids.shape)}, distances {list(truth.distances.shape)}"
        raise CorruptFile(f"{path}: {found}: expected the same shape")
    return truth


def write_ground_truth(path: str | os.PathLike[str], truth: GroundTruth, format: str | None = None) -> None:
    """Write neighbours as `gt`, or as two files, `ivecs`, `ibin` or `npy` (see `read_ground_truth`)."""
    path = Path(path)
    format = format or _format_of(path)
    if format not in FORMATS or format == "hdf5":
        raise InvalidArgument(f"{path}: ground truth is not written as {format}")
    if format != "npy" and truth.ids.size and truth.ids.max() >= 1 << 31:
        raise InvalidArgument(f"{path}: {format} holds ids below 2^31, found {truth.ids.max()}; use npy")
    if format == "gt":
        _write_gt(path, truth)
        return
    if truth.distances is not None:
        write_vectors(_distances_path(path, format), truth.distances)
    write_vectors(path, truth.ids, format)


def _format_of(path: Path) -> str:
    if path.suffix in _GT_EXTENSIONS:
        return "gt"
    try:
        return format_of(path)
    except InvalidArgument:
        return "gt"


def _read_gt(path: Path) -> GroundTruth:
    file = RawFile(path)
    with closing_on_error(file):
        if file.size_bytes < HEADER.size:
            raise CorruptFile(f"{path}: expected a header of {HEADER.size} bytes, found {file.size_bytes}")
        num_queries, k = HEADER.unpack(file.read_bytes(0, HEADER.size))
        file.require_size(HEADER.size + num_queries * k * 8, f"header: {num_queries} queries, k {k}")
        ids = np.empty((num_queries, k), dtype="<i4")
        distances = np.empty((num_queries, k), dtype="<f4")
        file.read_into(ids, HEADER.size)
        file.read_into(distances, HEADER.size + ids.nbytes)
    file.close()
    return GroundTruth(ids.astype(np.int64), distances.astype(np.float32, copy=False))


def _write_gt(path: Path, truth: GroundTruth) -> None:
    if truth.distances is None:
        raise InvalidArgument(f"{path}: the format gt holds distances, and there are none; use ivecs or npy")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(HEADER.pack(*truth.ids.shape))
        file.write(truth.ids.astype("<i4").tobytes())
        file.write(truth.distances.astype("<f4").tobytes())


def _read_pair(path: Path, format: str) -> GroundTruth:
    if format == "hdf5":
        return GroundTruth(_integers(path, format, "neighbors"), _floats(path, "hdf5", "distances"))
    distances = _distances_path(path, format)
    return GroundTruth(_integers(path, format, None), _floats(distances, None, None) if distances.exists() else None)


def _distances_path(path: Path, format: str) -> Path:
    suffix = {"ivecs": ".fvecs", "ibin": ".fbin", "npy": ".npy"}[format]
    return path.with_name(f"{path.stem}_dist{suffix}")


def _integers(path: Path, format: str, dataset: str | None) -> Int64Array:
    ids = _all_rows(path, format, dataset)
    if ids.dtype.kind not in "iu":
        raise InvalidArgument(f"{path}: ids must be whole numbers, found {ids.dtype}")
    return ids.astype(np.int64, copy=False)


def _floats(path: Path, format: str | None, dataset: str | None) -> Float32Array:
    return _all_rows(path, format, dataset).astype(np.float32, copy=False)


def _all_rows(path: Path, format: str | None, dataset: str | None) -> npt.NDArray[Any]:
    with open_vectors(path, format, dataset) as source:
        rows: Vectors = source.read(0, source.num_rows)
        return rows
