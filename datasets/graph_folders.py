"""Graphs in folders: arrays sorted by destination, columns, OGB's raw files, and IGB's and MAG240M's processed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from outcrop.datasets.array_file import open_array
from outcrop.datasets.edge_arrays import ArrayEdges, open_csc, open_edge_columns, open_edge_index
from outcrop.datasets.edge_tables import TableEdges, open_text_edges
from outcrop.datasets.graph_files import GraphFiles, count_nodes
from outcrop.datasets.npy_file import MAGIC
from outcrop.datasets.npz_part import part_names
from outcrop.datasets.raw_file import RawFile
from outcrop.datasets.text_table import TextTable
from outcrop.errors import InvalidArgument
from outcrop.types import NODE, NODE_TO_NODE, EdgeType

# Of IGB's large and full sets, whose files have no header: rows of 1,024 float32.
_IGB_ROW_BYTES = 4096
_RELATION = re.compile(r"(.+?)___?(.+?)___?(.+)")

Asked = Mapping[str, int] | None


def open_csc_files(indptr: Path, asked: Asked = None) -> GraphFiles:
    """Open `[PREFIX]indptr.npy` and beside it indices, and weights, times, edge_ids, node_times where there are any."""
    prefix = indptr.name.removesuffix("indptr.npy")

    def beside(name: str) -> Path | None:
        path = indptr.with_name(f"{prefix}{name}.npy")
        return path if path.exists() else None

    indices = indptr.with_name(f"{prefix}indices.npy")
    edges = open_csc(indptr, indices, beside("weights"), beside("times"), beside("edge_ids"))
    num_nodes = len(edges.arrays.indptr) - 1
    times = beside("node_times")
    return GraphFiles(
        "csc",
        count_nodes({NODE_TO_NODE: edges}, {NODE: num_nodes}, asked),
        {NODE_TO_NODE: edges},
        None if times is None else {NODE: _node_times(times, num_nodes)},
    )


def open_column_files(folder: Path, asked: Asked = None, ids: bool = False) -> GraphFiles:
    """Open `src.npy` and `dst.npy`, and weight.npy and time.npy where there are any."""
    weight, time = (path if path.exists() else None for path in (folder / "weight.npy", folder / "time.npy"))
    edges = {NODE_TO_NODE: open_edge_columns(folder / "src.npy", folder / "dst.npy", weight, time, ids)}
    return GraphFiles("columns", count_nodes(edges, {}, asked), edges)


def open_ogb(raw: Path, asked: Asked = None, ids: bool = False) -> GraphFiles:
    """Open the `raw` folder of an OGB set for nodes or links: data.npz, or edge.csv.gz, or relations/ of several types.

    Sets of undirected graphs hold each edge once; see `both_directions`.
    Raises InvalidArgument for a set of several graphs.
    """
    if (raw / "triplet-type-list.csv.gz").exists():
        return _open_ogb_types(raw, asked, ids)
    known = {}
    edges: ArrayEdges | TableEdges
    if (raw / "data.npz").exists():
        edges = open_edge_index(raw / "data.npz", "edge_index", ids=ids)
        if "num_nodes_list" in part_names(raw / "data.npz"):
            with open_array(raw / "data.npz", "num_nodes_list") as counts:
                known[NODE] = _only_graph(counts[:].tolist(), raw)
    else:
        edges = open_text_edges(raw / "edge.csv.gz", ids=ids)
        known[NODE] = _only_graph(_column(raw / "num-node-list.csv.gz"), raw)
    return GraphFiles("ogb", count_nodes({NODE_TO_NODE: edges}, known, asked), {NODE_TO_NODE: edges})


def open_processed(processed: Path, asked: Asked = None, ids: bool = False) -> GraphFiles:
    """Open a folder of `TYPE__RELATION__TYPE/edge_index.npy`, as IGB has them (MAG240M: three underscores).

    Nodes are counted by TYPE/node_feat.npy where there is one; without a header its rows are taken for IGB's, of 1,024
    float32, unless the count is asked.
    """
    edges: dict[EdgeType, ArrayEdges] = {}
    for path in sorted(processed.glob("*__*__*/edge_index.npy")):
        matched = _RELATION.fullmatch(path.parent.name)
        if matched is None:
            raise InvalidArgument(f"{path.parent}: expected a name such as paper__cites__paper")
        source, relation, destination = matched.groups()
        edges[source, relation, destination] = open_edge_index(path, ids=ids)
    if not edges:
        raise InvalidArgument(f"{processed}: holds no TYPE__RELATION__TYPE/edge_index.npy")
    known = {}
    for path in sorted(processed.glob("*/node_feat.npy")):
        count = _count_rows(path, guess=path.parent.name not in (asked or {}))
        if count is not None:
            known[path.parent.name] = count
    return GraphFiles("processed", count_nodes(edges, known, asked), edges)


def _open_ogb_types(raw: Path, asked: Asked, ids: bool) -> GraphFiles:
    counts = TextTable(raw / "num-node-dict.csv.gz")
    if counts.names is None:
        raise InvalidArgument(f"{counts.path}: expected the names of the node types above their counts")
    columns = np.concatenate(list(counts.matrix_batches(np.int64)), axis=0)
    known = {name: _only_graph(columns[:, i].tolist(), raw) for i, name in enumerate(counts.names)}
    edges: dict[EdgeType, TableEdges] = {}
    for folder in sorted((raw / "relations").iterdir()):
        names = folder.name.split("___")
        if len(names) != 3:
            raise InvalidArgument(f"{folder}: expected a name such as author___writes___paper")
        edges[names[0], names[1], names[2]] = open_text_edges(folder / "edge.csv.gz", ids=ids)
    return GraphFiles("ogb", count_nodes(edges, known, asked), edges)


def _only_graph(counts: list[Any], raw: Path) -> int:
    if len(counts) != 1:
        raise InvalidArgument(f"{raw}: holds {len(counts)} graphs, expected one")
    return int(counts[0])


def _column(path: Path) -> list[Any]:
    rows = np.concatenate([batch[0] for batch in TextTable(path).batches([0], [np.int64])])
    found: list[Any] = rows.tolist()
    return found


def _count_rows(path: Path, guess: bool) -> int | None:
    """Return how many rows a file of features has by its header, or else, as a guess, by rows of IGB's size."""
    file = RawFile(path)
    try:
        begin = file.read_bytes(0, min(len(MAGIC), file.size_bytes))
        if begin != MAGIC:
            fits = guess and file.size_bytes % _IGB_ROW_BYTES == 0
            return file.size_bytes // _IGB_ROW_BYTES if fits else None
    finally:
        file.close()
    with open_array(path) as rows:
        return len(rows)


def _node_times(path: Path, num_nodes: int) -> Any:
    with open_array(path) as times:
        if times.shape != (num_nodes,) or times.dtype.kind not in "iu":
            raise InvalidArgument(f"{path}: expected integers [{num_nodes}], found {times.dtype} {list(times.shape)}")
        return times[:].astype(np.int64, copy=False)
