"""A source of any order becomes a version of a graph, in bounded memory; docs/formats/graph.md is what it writes.

Edge types are imported one after the other. Each that is finished, and of one that is not each chunk that was sorted
out, is kept for the import that resumes a killed one.
"""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.graph import NODE_TIMES, EdgeLayout, file_name
from outcrop.gnn_loader.imports.csc_source import csc_shape, sorted_csc
from outcrop.gnn_loader.imports.edge_columns import Edges, EdgeShape, extras_of
from outcrop.gnn_loader.imports.edge_files import EdgeFiles
from outcrop.gnn_loader.imports.edge_sort import EdgeSort
from outcrop.gnn_loader.imports.identity import MOST_NODES
from outcrop.store import BlockWriter, FileEntry, Manifest, VersionWriter
from outcrop.types import CooEdges, CscEdges, EdgeSource, EdgeType, GraphSource, Progress, row_ranges

# Below this a chunk of edges is so short that sorting becomes all seeks.
LEAST_MEMORY_BYTES = 1 << 20

Report = Callable[[Progress], None]


def import_graph(writer: VersionWriter, source: GraphSource, memory_bytes: int, report: Report) -> Manifest:
    """Write the graph of `source` and commit.

    memory_bytes: for edges on their way, at least 1 MiB. report: may raise to stop; a writer with a job id keeps what
    is finished. Raises InvalidArgument naming the first node, edge or weight that cannot be.
    """
    if memory_bytes < LEAST_MEMORY_BYTES:
        raise InvalidArgument(f"memory: expected at least {LEAST_MEMORY_BYTES} bytes, found {memory_bytes}")
    _check_types(source)
    layouts, files = _finished(writer)
    for number, (edge_type, edges) in enumerate(source.edges.items()):
        if number >= len(layouts):
            work = _EdgeImport(writer, source, number, edge_type, memory_bytes, report)
            layout, entries = work.run(edges)
            layouts.append(layout)
            files += entries
            _save(writer, layouts, files)
            work.forget()
    times = source.node_times or {}
    files += [_write_node_times(writer, number, name, source) for number, name in _types_with_times(source)]
    properties = {
        "node_types": [[name, int(count)] for name, count in source.node_counts.items()],
        "edge_types": [layout.to_json() for layout in layouts],
        "node_times": sorted(times),
    }
    report(Progress("commit", 1.0, None))
    return writer.commit(files, properties)


class _EdgeImport:
    """One edge type of an import."""

    def __init__(
        self,
        writer: VersionWriter,
        source: GraphSource,
        number: int,
        edge_type: EdgeType,
        memory_bytes: int,
        report: Report,
    ) -> None:
        src, _, dst = edge_type
        self._number = number
        self._num_types = len(source.edges)
        self._folder = writer.folder
        self._scratch = writer.scratch / f"edges-{number}"
        self._shape = EdgeShape(edge_type, int(source.node_counts[src]), int(source.node_counts[dst]), ())
        self._memory_bytes = memory_bytes
        self._report = report

    def run(self, edges: EdgeSource) -> tuple[EdgeLayout, list[FileEntry]]:
        self._scratch.mkdir(exist_ok=True)
        shape, batches = self._csc(edges) if edges.form == "csc" else self._coo(edges)
        with EdgeFiles(self._folder, self._number, shape) as files:
            for batch in batches:
                files.add(batch)
            return files.finish()

    def forget(self) -> None:
        """Remove the sorted edges, once the files made of them are noted: half of them would pass for all."""
        shutil.rmtree(self._scratch)

    def _coo(self, edges: CooEdges) -> tuple[EdgeShape, Iterator[Edges]]:
        first = next(iter(edges.batches()), None)
        shape = self._shaped(() if first is None else extras_of(first))
        sort = EdgeSort(self._scratch / "runs", shape, edges.num_edges, self._memory_bytes)
        sort.fill(edges, lambda done: self._tick("distribute edges", 0.0, 0.5, done, edges.num_edges))
        return shape, self._ticking("sort edges", 0.5, 0.5, sort.batches(), edges.num_edges)

    def _csc(self, edges: CscEdges) -> tuple[EdgeShape, Iterator[Edges]]:
        shape = csc_shape(self._shape, edges.csc())
        batches = sorted_csc(shape, edges.csc(), self._scratch, self._memory_bytes)
        return shape, self._ticking("edges", 0.0, 1.0, batches, edges.num_edges)

    def _shaped(self, extras: tuple[str, ...]) -> EdgeShape:
        return EdgeShape(self._shape.edge_type, self._shape.num_src, self._shape.num_dst, extras)

    def _ticking(
        self, stage: str, before: float, share: float, batches: Iterator[Edges], num_edges: int | None
    ) -> Iterator[Edges]:
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            self._tick(stage, before, share, done, num_edges)

    def _tick(self, stage: str, before: float, share: float, done: int, num_edges: int | None) -> None:
        """before, share: of this edge type, what was done before the stage and what the stage is."""
        fraction = before + share * min(1.0, done / num_edges) if num_edges else before
        relation = "-".join(self._shape.edge_type)
        self._report(Progress(f"{stage} {relation}", 0.99 * (self._number + fraction) / self._num_types, None))


def _check_types(source: GraphSource) -> None:
    for name, count in source.node_counts.items():
        if not 0 <= count <= MOST_NODES:
            raise InvalidArgument(f"node type {name!r}: expected 0 to {MOST_NODES} nodes, found {count}")
    for edge_type in source.edges:
        if len(edge_type) != 3 or not all(isinstance(part, str) for part in edge_type):
            raise InvalidArgument(f"edge type: expected (source type, relation, destination type), found {edge_type}")
        for node_type in (edge_type[0], edge_type[2]):
            if node_type not in source.node_counts:
                raise InvalidArgument(
                    f"edge type {edge_type}: expected node types of {list(source.node_counts)}, found {node_type!r}"
                )
    for name, times in (source.node_times or {}).items():
        expected = [source.node_counts.get(name)]
        if list(times.shape) != expected:
            raise InvalidArgument(f"node times {name!r}: expected shape {expected}, found {list(times.shape)}")


def _types_with_times(source: GraphSource) -> Iterator[tuple[int, str]]:
    return ((number, name) for number, name in enumerate(source.node_counts) if name in (source.node_times or {}))


def _write_node_times(writer: VersionWriter, number: int, name: str, source: GraphSource) -> FileEntry:
    times: Any = (source.node_times or {})[name]
    with BlockWriter(writer.folder / file_name(NODE_TIMES, number), NODE_TIMES.kind) as file:
        for start, stop in row_ranges(times.shape[0], 1 << 20):
            part = np.asarray(times[start:stop])
            if part.dtype.kind not in "iu":
                raise InvalidArgument(f"node times {name!r}: expected integers, found {part.dtype}")
            file.append(np.ascontiguousarray(part, "<i8"))
        return file.finish()


def _finished(writer: VersionWriter) -> tuple[list[EdgeLayout], list[FileEntry]]:
    """What a killed import has finished."""
    state = writer.load_state() if writer.job_id is not None else {}
    layouts = [EdgeLayout.from_json(fields) for fields in state.get("edge_types", [])]
    return layouts, [FileEntry.from_json(fields) for fields in state.get("files", [])]


def _save(writer: VersionWriter, layouts: list[EdgeLayout], files: list[FileEntry]) -> None:
    if writer.job_id is not None:
        edge_types = [layout.to_json() for layout in layouts]
        writer.save_state({"edge_types": edge_types, "files": [entry.to_json() for entry in files]})
