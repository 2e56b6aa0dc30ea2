"""The door to vector files: open any known format as a VectorSource."""

from __future__ import annotations

import os
from pathlib import Path

from outcrop.datasets import bin_file, vecs_file
from outcrop.datasets.bin_file import BinFile
from outcrop.datasets.npy_file import NpyFile
from outcrop.datasets.source import ENGINE_DTYPES, MemorySource, Vectors, VectorSource
from outcrop.datasets.vecs_file import VecsFile
from outcrop.errors import InvalidArgument

__all__ = ["ENGINE_DTYPES", "FORMATS", "MemorySource", "VectorSource", "Vectors", "format_of", "open_vectors"]

FORMATS = (*bin_file.ELEMENTS, *vecs_file.ELEMENTS, "npy")


def open_vectors(path: str | os.PathLike[str], format: str | None = None, dataset: str | None = None) -> VectorSource:
    """Open a vector file; the extension tells its format unless `format` does.

    dataset: the HDF5 data set (default "train") or the Parquet column (default: the only list of numbers).
    The file's size is held against its header here; what a header cannot tell is checked while reading.
    Raises NotFound, InvalidArgument for a format or content that is no vectors, CorruptFile when sizes disagree.
    """
    path = Path(path)
    format = format_of(path) if format is None else _known(format)
    if format in bin_file.ELEMENTS:
        return BinFile(path, format)
    if format in vecs_file.ELEMENTS:
        return VecsFile(path, format)
    return NpyFile(path)


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that a file name tells: its last known extension (`base.u8bin.crop_nb_1000` is u8bin)."""
    for suffix in reversed(Path(path).suffixes):
        format = suffix[1:].lower()
        if format in FORMATS:
            return format
    raise InvalidArgument(f"{path}: the extension tells no format; name one of {', '.join(FORMATS)}")


def _known(format: str) -> str:
    if format not in FORMATS:
        raise InvalidArgument(f"format {format!r} is not one of {', '.join(FORMATS)}")
    return format
