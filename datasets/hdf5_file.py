"""HDF5 as ann-benchmarks lays it out: data sets train, test, neighbors, distances. Needs the extra `hdf5`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.datasets.raw_file import RawFile
from outcrop.datasets.source import Vectors, VectorSource, native_dtype
from outcrop.errors import CorruptFile, InvalidArgument, NotFound

DEFAULT_DATASET = "train"
CHUNK_BYTES = 1 << 20


class Hdf5File(VectorSource):
    """Reads one two-dimensional data set of an HDF5 file. One thread at a time."""

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        h5py = _h5py()
        RawFile(path).close()
        dataset = dataset or DEFAULT_DATASET
        with _refusals(path):
            self._file = h5py.File(path, "r")
        try:
            with _refusals(path):
                self._rows = self._file.get(dataset)
                self._check(path, dataset, isinstance(self._rows, h5py.Dataset))
                self.num_rows, self.dim = (int(n) for n in self._rows.shape)
                self.dtype = native_dtype(self._rows.dtype, f"{path}: {dataset}")
        except BaseException:
            self._file.close()
            raise
        self.format = "hdf5"
        self.path = path

    def _check(self, path: Path, dataset: str, found: bool) -> None:
        if not found:
            raise NotFound(f"{path}: no data set {dataset!r}, found {', '.join(sorted(self._file))}")
        if self._rows.ndim != 2 or self._rows.shape[1] < 1:
            shape = list(self._rows.shape)
            raise InvalidArgument(f"{path}: {dataset} must have the shape [rows, dim >= 1], found {shape}")

    def _read(self, start: int, stop: int) -> Vectors:
        rows: Vectors = np.empty((stop - start, self.dim), dtype=self.dtype)
        if not self._file:
            raise InvalidArgument(f"{self.path}: the file was closed")
        with _refusals(self.path):
            if stop > start:
                self._rows.read_direct(rows, np.s_[start:stop])
        return rows

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Hdf5Writer:
    """Writes one data set, chunked by rows, into a new HDF5 file."""

    def __init__(self, path: Path, dim: int, dtype: np.dtype[Any], dataset: str | None = None) -> None:
        self._file = _h5py().File(path, "w")
        chunk_rows = max(1, CHUNK_BYTES // (dim * dtype.itemsize))
        self._rows = self._file.create_dataset(
            dataset or DEFAULT_DATASET, shape=(0, dim), maxshape=(None, dim), dtype=dtype, chunks=(chunk_rows, dim)
        )

    def append(self, rows: Vectors) -> None:
        """Write rows [any, dim] of the writer's element type."""
        first = self._rows.shape[0]
        self._rows.resize(first + len(rows), axis=0)
        self._rows[first:] = rows

    def finish(self, num_rows: int) -> None:
        """Check the count and close the file."""
        assert self._rows.shape[0] == num_rows
        self._file.close()

    def abort(self) -> None:
        """Close the file, whatever it holds."""
        self._file.close()


def write_ann_benchmarks(path: Path, arrays: dict[str, Vectors], metric: str) -> None:
    """Write an ann-benchmarks file: `arrays` names train, test, neighbors, distances; `metric` is its `distance`."""
    from outcrop.datasets.atomic_file import atomic_path

    with atomic_path(path) as temporary, _h5py().File(temporary, "w") as file:
        file.attrs["distance"] = metric
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InvalidArgument("HDF5 files need h5py: pip install 'outcrop[hdf5]'") from error
    return h5py


@contextmanager
def _refusals(path: Path | None) -> Iterator[None]:
    """Turn what the library raises on damaged files, of whatever kind, into CorruptFile."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path}: HDF5: {error}") from error
