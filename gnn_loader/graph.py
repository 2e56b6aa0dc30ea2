"""A stored graph: for each edge type the edges by destination (CSC), for each node type how many nodes it has.

    with Graph.open(lease, Accountant(1 << 30)) as graph:
        indptr, indices, *_ = graph.csc(("paper", "cites", "paper"))

The bytes are in docs/formats/graph.md, `graph_import.py` writes them.
"""

import contextlib
import mmap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from outcrop.errors import CorruptFile, InvalidArgument, NotFound, ResourceExhausted
from outcrop.gnn_loader.sampler import NeighborSampler, sampler_options
from outcrop.stop import Stop, stop_of
from outcrop.store import Accountant, FileEntry, Manifest, StorageReader, StoredFile, VersionLease, format_bytes
from outcrop.store.format.block_file import BLOCK_BYTES, CHECKSUM_BYTES
from outcrop.types import (
    AnyArray,
    CscArrays,
    EdgeStatistics,
    EdgeType,
    Fanouts,
    GraphStatistics,
    Int64Array,
    Minibatch,
    row_ranges,
)

PLACEMENTS = ("auto", "memory", "map")

_BUFFER_BYTES = 2 << 20
# Places of an indptr that are looked at together.
_WINDOW = 1 << 20
# What statistics tell of in-degrees.
_SHARES = (0, 0.5, 0.9, 0.99, 1)
# One read of a file that is loaded as a whole.
_LOAD_BYTES = 16 << 20


class Column(NamedTuple):
    """One array of an edge type: its place in the file's name, the file's kind, and the type of its items."""

    file: str
    kind: str
    dtype: np.dtype[Any]


INDPTR = Column("indptr", "indptr", np.dtype("<i8"))
INDICES = Column("indices", "indices", np.dtype("<u4"))
WEIGHTS = Column("weights", "weights", np.dtype("<f4"))
TIMES = Column("times", "times", np.dtype("<i8"))
EDGE_IDS = Column("edge_ids", "edge_ids", np.dtype("<i8"))
NODE_TIMES = Column("node_times", "times", np.dtype("<i8"))


def file_name(column: Column, number: int) -> str:
    """Return the name of the file that holds a column of edge (or node) type `number`."""
    return f"{column.file}-{number}.blk"


@dataclass(frozen=True, slots=True)
class EdgeLayout:
    """What a manifest says of an edge type: how many edges, and which columns they have beside their ends."""

    edge_type: EdgeType
    num_edges: int
    weights: bool
    times: bool
    edge_ids: bool

    def columns(self) -> list[Column]:
        """Return the columns with one item for each edge."""
        flags = [(WEIGHTS, self.weights), (TIMES, self.times), (EDGE_IDS, self.edge_ids)]
        return [INDICES, *(column for column, there in flags if there)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return {
            "edge_type": list(self.edge_type),
            "num_edges": self.num_edges,
            "weights": self.weights,
            "times": self.times,
            "edge_ids": self.edge_ids,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "EdgeLayout":
        """The inverse of `to_json`."""
        src, relation, dst = fields["edge_type"]
        edge_type = (src, relation, dst)
        return cls(edge_type, fields["num_edges"], fields["weights"], fields["times"], fields["edge_ids"])


class Graph:
    """A version of a graph, opened. A context manager; its arrays are read-only and good until `close`."""

    def __init__(
        self,
        name: str,
        lease: VersionLease,
        placement: str,
        arrays: dict[str, AnyArray],
        resources: contextlib.ExitStack,
    ) -> None:
        """Use `Graph.open`."""
        self.name = name
        self.manifest: Manifest = lease.manifest
        self.placement = placement
        self.node_types: dict[str, int] = _node_types(lease.manifest)
        self._layouts = {layout.edge_type: layout for layout in _layouts(lease.manifest)}
        self._arrays = arrays
        self._resources = resources
        self._closed = False
        self._sampler: NeighborSampler | None = None  # of the last `sample`: building one costs as much as drawing

    @classmethod
    def open(
        cls,
        lease: VersionLease,
        memory: Accountant,
        placement: str = "auto",
        reader: str = "auto",
        name: str | None = None,
    ) -> "Graph":
        """Open the version of a lease, which the graph takes over. name: in the root, by default the graph's id.

        placement: "memory" reads everything, checked, into arrays that count against `memory`; "map" maps the files:
        pages come when they are touched, without checksums, and belong to nobody's budget; "auto" is "memory" where
        that fits. Raises InvalidArgument, CorruptFile, ResourceExhausted, StorageFailure.
        """
        if placement not in PLACEMENTS:
            raise InvalidArgument(f"placement: expected {', '.join(PLACEMENTS)}; found {placement!r}")
        with contextlib.ExitStack() as stack:
            stack.enter_context(lease)
            expected = _expected_bytes(lease.manifest)
            needed = sum(expected.values())
            free = memory.statistics().available_bytes - _overhead_bytes(memory, lease.manifest)
            if placement == "memory" and needed > free:
                raise ResourceExhausted(
                    f"graph: its arrays take {format_bytes(needed)}, {format_bytes(max(0, free))} of the memory budget "
                    'are left; raise it, or use placement "map"'
                )
            chosen = "memory" if placement != "map" and needed <= free else "map"
            arrays = _load(lease, memory, reader, expected, chosen, stack)
            return cls(name or lease.manifest.object_id, lease, chosen, arrays, stack.pop_all())

    @property
    def version(self) -> int:
        """Which version of the graph this is."""
        return self.manifest.version

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self.manifest.size_bytes

    @property
    def edge_types(self) -> list[EdgeType]:
        """All edge types, in the order of their import."""
        return list(self._layouts)

    def num_nodes(self, node_type: str | None = None) -> int:
        """Return how many nodes there are of a type, or altogether. Raises NotFound."""
        if node_type is None:
            return sum(self.node_types.values())
        if node_type not in self.node_types:
            raise NotFound(f"no node type {node_type!r}; the graph has {', '.join(self.node_types)}")
        return self.node_types[node_type]

    def num_edges(self, edge_type: EdgeType | None = None) -> int:
        """Return how many edges there are of a type, or altogether. Raises NotFound."""
        if edge_type is None:
            return sum(layout.num_edges for layout in self._layouts.values())
        return self.layout(edge_type).num_edges

    def layout(self, edge_type: EdgeType) -> EdgeLayout:
        """Return which columns an edge type has. Raises NotFound."""
        layout = self._layouts.get(edge_type)
        if layout is None:
            raise NotFound(f"no edge type {edge_type}; the graph has {', '.join(map(str, self._layouts))}")
        return layout

    def csc(self, edge_type: EdgeType) -> CscArrays:
        """Return the arrays of an edge type, read-only.

        indptr: int64 [num_dst + 1]. indices: uint32 [num_edges], the sources; within a column they ascend (after the
        times, if the edges have any). weights: float32, times, edge_ids: int64 [num_edges], or None; without ids an
        edge is called by its position. Raises NotFound.
        """
        number = list(self._layouts).index(self.layout(edge_type).edge_type)
        columns = (INDPTR, INDICES, WEIGHTS, TIMES, EDGE_IDS)
        return CscArrays(*(self._arrays.get(file_name(column, number)) for column in columns))

    def times_ascend(self, edge_type: EdgeType) -> bool:
        """Whether the edges into each node are ordered by time: they are if they have times. Raises NotFound."""
        return self.layout(edge_type).times

    def node_times(self, node_type: str) -> Int64Array | None:
        """Return int64 [num_nodes] of a type, or None when its nodes have no times. Raises NotFound."""
        self.num_nodes(node_type)
        return self._arrays.get(file_name(NODE_TIMES, list(self.node_types).index(node_type)))

    def in_degrees(self, edge_type: EdgeType) -> Int64Array:
        """Return how many edges each destination has, int64 [num_dst]. Raises NotFound."""
        degrees: Int64Array = np.diff(self.csc(edge_type).indptr)
        return degrees

    def sample(
        self,
        seeds: Any,
        fanouts: Fanouts,
        *,
        epoch: int = 0,
        batch: int = 0,
        timeout: float | None = None,
        stop: Stop | None = None,
        **sampling: Any,
    ) -> Minibatch:
        """Draw one minibatch, without features.

        seeds: `NodeSeeds`, `EdgeSeeds`, or ids where the graph has one type of nodes. fanouts and sampling: as
        `NeighborSampler` has them. epoch, batch: which minibatch; with the same seed the same one is drawn again.
        timeout: seconds the call may take; stop: instead of it, also to cancel the call from another thread.
        Raises InvalidArgument, CorruptFile, DeadlineExceeded, Cancelled.
        """
        if self._closed:
            raise InvalidArgument(f"graph {self.name!r}: it is closed; open it again")
        stop = stop_of(timeout, stop)
        return self._sampler_of(fanouts, sampling).sample(seeds, epoch=epoch, batch=batch, stop=stop)

    def statistics(self) -> GraphStatistics:
        """Return what the graph is; reads every indptr."""
        held = sum(array.nbytes for array in self._arrays.values()) if self.placement == "memory" else 0
        edges = {edge_type: self._edge_statistics(edge_type) for edge_type in self._layouts}
        times = tuple(name for name in self.node_types if self.node_times(name) is not None)
        return GraphStatistics(dict(self.node_types), times, edges, self.placement, held, self.disk_bytes)

    def close(self) -> None:
        """Give the version and its memory back; arrays that are still referred to keep their bytes."""
        self._closed, self._arrays, self._sampler = True, {}, None
        self._resources.close()

    def __enter__(self) -> "Graph":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sampler_of(self, fanouts: Fanouts, sampling: Mapping[str, Any]) -> NeighborSampler:
        options = sampler_options(self, fanouts, **sampling)
        sampler = self._sampler
        if sampler is None or sampler.options != options:
            sampler = self._sampler = NeighborSampler.of(self, options)
        return sampler

    def _edge_statistics(self, edge_type: EdgeType) -> EdgeStatistics:
        layout, indptr = self._layouts[edge_type], self.csc(edge_type).indptr
        num_dst, found = len(indptr) - 1, Counter[int]()
        for start, stop in row_ranges(num_dst, _WINDOW):
            degrees, counts = np.unique(np.diff(indptr[start : stop + 1]), return_counts=True)
            found.update(dict(zip(degrees.tolist(), counts.tolist(), strict=True)))
        mean = layout.num_edges / num_dst if num_dst else 0.0
        columns = layout.weights, layout.times, layout.edge_ids
        return EdgeStatistics(layout.num_edges, mean, _shares(found), found[0], *columns)


def _shares(counts: Counter[int]) -> tuple[int, ...]:
    """Return the value below which each of `_SHARES` lies, of values that occur so often."""
    values = sorted(counts)
    if not values:
        return (0,) * len(_SHARES)
    ends = np.cumsum([counts[value] for value in values])
    places = [int(share * (int(ends[-1]) - 1)) for share in _SHARES]
    return tuple(values[int(np.searchsorted(ends, place, "right"))] for place in places)


def _node_types(manifest: Manifest) -> dict[str, int]:
    return {name: int(count) for name, count in manifest.properties["node_types"]}


def _layouts(manifest: Manifest) -> list[EdgeLayout]:
    return [EdgeLayout.from_json(fields) for fields in manifest.properties["edge_types"]]


def _expected(manifest: Manifest) -> dict[str, tuple[Column, int]]:
    """Name of each file -> its column and how many items it holds."""
    node_types = _node_types(manifest)
    expected: dict[str, tuple[Column, int]] = {}
    for number, layout in enumerate(_layouts(manifest)):
        expected[file_name(INDPTR, number)] = (INDPTR, node_types[layout.edge_type[2]] + 1)
        for column in layout.columns():
            expected[file_name(column, number)] = (column, layout.num_edges)
    for number, name in enumerate(node_types):
        if name in manifest.properties["node_times"]:
            expected[file_name(NODE_TIMES, number)] = (NODE_TIMES, node_types[name])
    return expected


def _expected_bytes(manifest: Manifest) -> dict[str, int]:
    return {name: column.dtype.itemsize * items for name, (column, items) in _expected(manifest).items()}


def _buffer_bytes(memory: Accountant) -> int:
    return max(64 << 10, min(_BUFFER_BYTES, memory.budget_bytes // 16))


def _overhead_bytes(memory: Accountant, manifest: Manifest) -> int:
    """What loading takes beside the arrays: buffers, and the checksum table of the largest file."""
    largest = max((entry.size_bytes for entry in manifest.files), default=0)
    return _buffer_bytes(memory) + largest // BLOCK_BYTES * CHECKSUM_BYTES


def _load(
    lease: VersionLease,
    memory: Accountant,
    reader: str,
    expected: dict[str, int],
    placement: str,
    stack: contextlib.ExitStack,
) -> dict[str, AnyArray]:
    """Return all arrays by file name; each file is opened against its entry, so its header is checked either way."""
    if placement == "memory":
        stack.enter_context(memory.reserve("graph", sum(expected.values())))
    arrays: dict[str, AnyArray] = {}
    kind = "pread" if reader == "memory" else reader  # the memory reader would hold each file twice
    with StorageReader(memory, kind, buffer_bytes=_buffer_bytes(memory)) as storage:
        for name, (column, items) in _expected(lease.manifest).items():
            entry = lease.manifest.file(name)
            with storage.open(lease.path(name), entry) as file:
                if file.payload_bytes != expected[name]:
                    raise CorruptFile(f"{file.path}: payload of {file.payload_bytes} bytes, expected {expected[name]}")
                array = _read(file) if placement == "memory" else _mapped(file, entry)
                arrays[name] = _frozen(array.view(column.dtype))
                assert arrays[name].size == items
    _check_indptrs(lease, arrays)
    return arrays


def _read(file: StoredFile) -> AnyArray:
    out = np.empty(file.payload_bytes, np.uint8)
    for start in range(0, out.size, _LOAD_BYTES):
        part = out[start : start + _LOAD_BYTES]
        file.read_ranges(np.array([start]), np.array([part.size]), part)
    return out


def _mapped(file: StoredFile, entry: FileEntry) -> AnyArray:
    if not file.payload_bytes:
        return np.empty(0, np.uint8)
    with file.path.open("rb") as descriptor:
        mapping = mmap.mmap(descriptor.fileno(), entry.size_bytes, prot=mmap.PROT_READ)
    # A column is short and the next one far away; reading ahead fills memory with what nobody asked for.
    mapping.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapping, np.uint8, file.payload_bytes, BLOCK_BYTES)


def _check_indptrs(lease: VersionLease, arrays: dict[str, AnyArray]) -> None:
    """Both ends of each; what lies between is checked by whoever follows it (the sampler checks every bound)."""
    for number, layout in enumerate(_layouts(lease.manifest)):
        name = file_name(INDPTR, number)
        first, last = int(arrays[name][0]), int(arrays[name][-1])
        if first != 0 or last != layout.num_edges:
            raise CorruptFile(
                f"{lease.path(name)}: from {first} to {last}, expected 0 to {layout.num_edges}, the number of edges"
            )


def _frozen(array: AnyArray) -> AnyArray:
    array.flags.writeable = False
    return array
