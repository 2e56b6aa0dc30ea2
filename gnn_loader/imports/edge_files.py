"""Writes the files of one edge type from edges that come sorted by destination."""

import contextlib
from pathlib import Path
from types import TracebackType

import numpy as np

from outcrop.gnn_loader.graph import EDGE_IDS, INDICES, INDPTR, TIMES, WEIGHTS, Column, EdgeLayout, file_name
from outcrop.gnn_loader.imports.edge_columns import Edges, EdgeShape
from outcrop.store import BlockWriter, FileEntry
from outcrop.types import UInt32Array, row_ranges

# Places of indptr that are made at once.
_WINDOW = 1 << 20
_EXTRAS = {"weight": WEIGHTS, "time": TIMES, "edge_id": EDGE_IDS}


class EdgeFiles:
    """The files of an edge type in the making. A context manager; leaving it without `finish` removes them."""

    def __init__(self, folder: Path, number: int, shape: EdgeShape) -> None:
        """number: of the edge type in the graph."""
        self._shape = shape
        self._num_edges = 0
        self._next_node = 0  # indptr is written up to here
        self._open = contextlib.ExitStack()
        columns = [INDPTR, INDICES, *(_EXTRAS[name] for name in shape.extras)]
        self._files = {column: self._writer(folder, column, number) for column in columns}

    def add(self, edges: Edges) -> None:
        """Append edges, whose destinations ascend and are no less than those before."""
        if not len(edges):
            return
        assert int(edges.dst[0]) >= self._next_node - 1
        self._extend_indptr(int(edges.dst[-1]) + 1, edges.dst)
        self._files[INDICES].append(edges.src)
        for name in self._shape.extras:
            self._files[_EXTRAS[name]].append(getattr(edges, name))
        self._num_edges += len(edges)

    def finish(self) -> tuple[EdgeLayout, list[FileEntry]]:
        """Complete the files, durably, and return what they hold with their entries."""
        self._extend_indptr(self._shape.num_dst + 1, np.empty(0, np.uint32))
        extras = self._shape.extras
        layout = EdgeLayout(
            self._shape.edge_type, self._num_edges, "weight" in extras, "time" in extras, "edge_id" in extras
        )
        return layout, [file.finish() for file in self._files.values()]

    def __enter__(self) -> "EdgeFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _writer(self, folder: Path, column: Column, number: int) -> BlockWriter:
        return self._open.enter_context(BlockWriter(folder / file_name(column, number), column.kind))

    def _extend_indptr(self, stop: int, dst: UInt32Array) -> None:
        """Write where the columns of nodes up to `stop` begin: behind all edges into nodes before them."""
        for first, last in row_ranges(stop - self._next_node, _WINDOW):
            nodes = np.arange(self._next_node + first, self._next_node + last, dtype=np.uint64)
            begin = np.searchsorted(dst, nodes.astype(np.uint32)) if dst.size else 0
            self._files[INDPTR].append(np.full(nodes.size, self._num_edges, "<i8") + begin)
        self._next_node = max(stop, self._next_node)
