"""The door to vector files: open any known format as a VectorSource, write any source as a file of any format."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from outcrop.datasets import bin_file, vecs_file
from outcrop.datasets.atomic_file import atomic_path
from outcrop.datasets.bin_file import BinFile, BinWriter
from outcrop.datasets.convert import convert_rows
from outcrop.datasets.hdf5_file import Hdf5File, Hdf5Writer
from outcrop.datasets.npy_file import NpyFile, NpyWriter
from outcrop.datasets.parquet_file import ParquetFile, ParquetWriter
from outcrop.datasets.source import ENGINE_DTYPES, MemorySource, Vectors, VectorSource, native_dtype
from outcrop.datasets.vecs_file import VecsFile, VecsWriter
from outcrop.errors import InvalidArgument

__all__ = [
    "ENGINE_DTYPES",
    "FORMATS",
    "MemorySource",
    "Progress",
    "VectorSource",
    "Vectors",
    "format_of",
    "open_vectors",
    "write_vectors",
]

ELEMENTS = bin_file.ELEMENTS | vecs_file.ELEMENTS
FORMATS = (*ELEMENTS, "npy", "hdf5", "parquet")
_OTHER_EXTENSIONS = {"h5": "hdf5", "hdf": "hdf5", "pq": "parquet"}
# Large enough that a system call costs nothing beside it, small beside any budget.
BATCH_BYTES = 8 << 20

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the rows done and, where it is known, the number of all."""


def open_vectors(path: str | os.PathLike[str], format: str | None = None, dataset: str | None = None) -> VectorSource:
    """Open a vector file; the extension tells its format unless `format` does.

    dataset: the HDF5 data set (default "train") or the Parquet column (default: the only list of numbers).
    The file's size is held against its header here; what a header cannot tell is checked while reading.
    Raises NotFound, InvalidArgument for a format or content that is no vectors, CorruptFile when sizes disagree.
    """
    path = Path(path)
    format = format_of(path) if format is None else _known(format)
    if format == "hdf5":
        return Hdf5File(path, dataset)
    if format == "parquet":
        return ParquetFile(path, dataset)
    if dataset is not None:
        raise InvalidArgument(f"{path}: a {format} file has no part named {dataset!r}, only HDF5 and Parquet have")
    if format in bin_file.ELEMENTS:
        return BinFile(path, format)
    if format in vecs_file.ELEMENTS:
        return VecsFile(path, format)
    return NpyFile(path)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a file name tells: its last known extension (`base.u8bin.crop_nb_1000` is u8bin)."""
    for suffix in reversed(Path(path).suffixes):
        format = suffix[1:].lower()
        format = _OTHER_EXTENSIONS.get(format, format)
        if format in FORMATS:
            return format
    raise InvalidArgument(f"{path}: the extension tells no format; name one of {', '.join(FORMATS)}")


def write_vectors(
    path: str | os.PathLike[str],
    rows: VectorSource | Vectors | Iterable[Vectors],
    format: str | None = None,
    dtype: npt.DTypeLike | None = None,
    dataset: str | None = None,
    rounded: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write a source, an array or batches of rows [any, dim] to a new file, streamed; return the number of rows.

    dtype: the element type written; by default the format's own (fbin: float32, ...) or else that of the rows.
    Floats convert to floats; to whole numbers every value must be exact, unless `rounded` allows rounding and clipping.
    dataset: as for `open_vectors`. The file appears whole under its name, or not at all.
    Raises InvalidArgument naming the row that does not convert or has another dimension, StorageFailure.
    """
    path = Path(path)
    format = format_of(path) if format is None else _known(format)
    batches, total = _batches_of(rows)
    first = next(batches, None)
    if first is None:
        raise InvalidArgument(f"{path}: no batches, and so no dimension to write")
    stored = _stored_dtype(format, first.dtype, dtype, str(path))
    with atomic_path(path) as temporary, ExitStack() as stack:
        writer = _make_writer(stack, temporary, format, first.shape[1], stored, dataset)
        done = 0
        for batch in itertools.chain([first], batches):
            if batch.shape[1:] != first.shape[1:]:
                raise InvalidArgument(f"row {done} has dimension {batch.shape[1:]}, row 0 has {first.shape[1:]}")
            writer.append(convert_rows(batch, stored, rounded, done, "vectors"))
            done += len(batch)
            if progress is not None:
                progress(done, total)
        writer.finish(done)
    return done


class _Writer(Protocol):
    def append(self, rows: Vectors) -> None: ...

    def finish(self, num_rows: int) -> None: ...


def _make_writer(
    stack: ExitStack, path: Path, format: str, dim: int, dtype: np.dtype[Any], dataset: str | None
) -> _Writer:
    if format == "hdf5":
        hdf5 = Hdf5Writer(path, dim, dtype, dataset)
        stack.callback(hdf5.abort)
        return hdf5
    if format == "parquet":
        parquet = ParquetWriter(path, dim, dtype, dataset)
        stack.callback(parquet.abort)
        return parquet
    file = stack.enter_context(path.open("wb"))
    if format in bin_file.ELEMENTS:
        return BinWriter(file, dim, format)
    if format in vecs_file.ELEMENTS:
        return VecsWriter(file, dim, format)
    return NpyWriter(file, (dim,), dtype)


def _batches_of(rows: VectorSource | Vectors | Iterable[Vectors]) -> tuple[Iterator[Vectors], int | None]:
    """Return batches, at least one for a source or an array even if it is empty, and the number of rows if known."""
    if isinstance(rows, np.ndarray):
        rows = MemorySource(rows)
    if not isinstance(rows, VectorSource):
        return (_checked(batch) for batch in rows), None
    if rows.num_rows == 0:
        return iter([rows.read(0, 0)]), 0
    return rows.batches(max(1, BATCH_BYTES // rows.row_bytes)), rows.num_rows


def _checked(batch: Vectors) -> Vectors:
    return MemorySource(batch).read(0, len(batch))


def _stored_dtype(format: str, found: np.dtype[Any], asked: npt.DTypeLike | None, name: str) -> np.dtype[Any]:
    own = np.dtype(ELEMENTS[format]).newbyteorder("=") if format in ELEMENTS else None
    if asked is None:
        return own or found
    stored = native_dtype(np.dtype(asked), name)
    if own is not None and own != stored:
        raise InvalidArgument(f"{name}: a {format} file holds {own}, not {stored}")
    return stored


def _known(format: str) -> str:
    if format not in FORMATS:
        raise InvalidArgument(f"format {format!r} is not one of {', '.join(FORMATS)}")
    return format
