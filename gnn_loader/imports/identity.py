"""What tells one source of an import from another, so that an import that was killed can be gone on with."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from outcrop import native
from outcrop.types import AnyArray, ArrayEdges, ArrayRows, CscEdgeArrays, VectorRows, row_ranges

# Most nodes of a type, edges' ends and rows of a table are counted in 32 bits; two values mean something else.
MOST_NODES = (1 << 32) - 2

# One checksum tells that an array in memory is still the same for this many bytes of it.
_CHECKSUM_BYTES = 1 << 20


def source_identity(source: Any) -> str | None:
    """Return a text that changes when the input does, or None where nothing tells: then an import cannot be resumed.

    A source says it itself, in a method `identity() -> str | None`; or it has a `path`, whose size and time of change
    do; or it is a graph of parts that do.
    """
    if source is None:
        return "none"
    if isinstance(source, ArrayRows):
        return _digest([source.logical_dtype, array_identity(source.array)])
    if isinstance(source, ArrayEdges):
        return combined_identity("coo", source.src, source.dst, source.weight, source.time, source.edge_id)
    if isinstance(source, CscEdgeArrays):
        return combined_identity("csc", *source.arrays)
    if isinstance(source, VectorRows):
        return source_identity(source.source)
    if hasattr(source, "identity"):
        found: str | None = source.identity()
        return found
    if isinstance(getattr(source, "path", None), str | Path):
        return _digest(_file_stamp(source.path))
    if hasattr(source, "node_counts") and hasattr(source, "edges"):
        times = source.node_times or {}
        parts = [source_identity(edges) for edges in source.edges.values()]
        parts += [_column_identity(times[name]) for name in sorted(times)]
        names = [list(source.node_counts.items()), list(source.edges), sorted(times)]
        return None if None in parts else _digest([names, parts])
    return None


def combined_identity(form: str, *arrays: Any) -> str | None:
    """Return one text for several arrays, some of which may be None. form: what they are together."""
    parts = [_column_identity(array) for array in arrays]
    return None if None in parts else _digest([form, parts])


def _column_identity(column: Any) -> str | None:
    return array_identity(column) if isinstance(column, np.ndarray) else source_identity(column)


def array_identity(array: AnyArray) -> str:
    """Return a text for an array: of a mapped file its path, size and time of change, else a digest of all bytes."""
    filename = getattr(array, "filename", None)
    if filename is not None:
        place = [array.__array_interface__["data"][0] - _base_address(array), list(array.strides)]
        found = [*_file_stamp(filename), *place]
    else:
        rows = max(1, _CHECKSUM_BYTES // max(1, array[:1].nbytes))
        parts = (np.ascontiguousarray(array[start:stop]) for start, stop in row_ranges(len(array), rows))
        found = [native.crc32c(part.view(np.uint8).ravel()) for part in parts]
    return _digest([list(array.shape), str(array.dtype), found])


def _base_address(array: AnyArray) -> int:
    """Where the mapping begins of which a memory map is a view; views of it share its `filename`."""
    owner: Any = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return int(owner.__array_interface__["data"][0]) - int(getattr(owner, "offset", 0))


def _file_stamp(path: Any) -> list[Any]:
    status = Path(path).stat()
    return [str(Path(path).resolve()), status.st_size, status.st_mtime_ns]


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
