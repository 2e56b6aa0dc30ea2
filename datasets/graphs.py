"""The door to graphs in files: open any known layout as a GraphSource."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from outcrop.datasets.edge_arrays import open_edge_index
from outcrop.datasets.edge_tables import open_parquet_edges, open_text_edges
from outcrop.datasets.graph_files import GraphFiles, both_directions, count_nodes
from outcrop.datasets.graph_folders import open_column_files, open_csc_files, open_ogb, open_processed
from outcrop.datasets.graphbolt_folder import METADATA, open_graphbolt
from outcrop.datasets.rows import refuse_options
from outcrop.datasets.text_table import is_text
from outcrop.errors import InvalidArgument, NotFound
from outcrop.types import NODE_TO_NODE, CooEdges, EdgeType

__all__ = ["GraphFiles", "open_graph", "open_typed_edges"]

_ARRAYS = (".npy", ".npz")
_PARQUET = (".parquet", ".pq")


def open_graph(
    path: str | os.PathLike[str],
    nodes: Mapping[str, int] | None = None,
    columns: str | None = None,
    part: str | None = None,
    edge_ids: bool = False,
    undirected: bool = False,
) -> GraphFiles:
    """Open a graph: a file of edges, or a folder of one of these layouts.

        [PREFIX]indptr.npy, [PREFIX]indices.npy    sorted by destination; also named by the path of an indptr
        src.npy, dst.npy                           two columns
        raw/, or inside: data.npz, edge.csv.gz     OGB's node and link sets, of one type or several
        processed/, or inside: A__to__B/...        IGB, MAG240M
        metadata.yaml                              GraphBolt

    A file is .npy or .npz of shape [n, 2] or [2, n], a text table, or Parquet; `columns` as for `choose_columns`,
    `part` names one of several arrays of an npz.
    nodes: how many there are, by type ("node" where there is one type); what files do not tell and nobody says is found
    by reading all edges. edge_ids: number the edges as they come, so that rows of edge features stay valid.
    undirected: add every edge's reverse.
    Raises NotFound, InvalidArgument, CorruptFile, UnsupportedFormat.
    """
    path = Path(path)
    if columns is not None and not (is_text(path) or path.suffix in _PARQUET):
        raise InvalidArgument(f"{path}: columns {columns!r} were asked; only text tables and Parquet have columns")
    if part is not None and path.suffix != ".npz":
        raise InvalidArgument(f"{path}: part {part!r} was asked; only npz files have parts")
    graph = _open_folder(path, nodes, edge_ids) if path.is_dir() else _open_file(path, nodes, columns, part, edge_ids)
    return both_directions(graph) if undirected else graph


def open_typed_edges(
    files: Mapping[EdgeType, str | os.PathLike[str]],
    nodes: Mapping[str, int] | None = None,
    columns: str | None = None,
    edge_ids: bool = False,
) -> GraphFiles:
    """Open a graph of several types with a file of edges for each; see `open_graph`."""
    edges = {name: _open_edges(Path(path), columns, None, edge_ids) for name, path in files.items()}
    return GraphFiles("files", count_nodes(edges, {}, nodes), edges)


def _open_folder(folder: Path, nodes: Mapping[str, int] | None, ids: bool) -> GraphFiles:
    if (folder / METADATA).exists():
        return open_graphbolt(folder / METADATA, nodes, ids)
    if (folder / "indptr.npy").exists():
        refuse_options(folder, edge_ids=ids or None)
        return open_csc_files(folder / "indptr.npy", nodes)
    if (folder / "src.npy").exists():
        return open_column_files(folder, nodes, ids)
    for raw in (folder, folder / "raw"):
        if any((raw / name).exists() for name in ("data.npz", "edge.csv.gz", "triplet-type-list.csv.gz")):
            return open_ogb(raw, nodes, ids)
    for processed in (folder, folder / "processed"):
        if next(processed.glob("*__*__*/edge_index.npy"), None) is not None:
            return open_processed(processed, nodes, ids)
    raise InvalidArgument(
        f"{folder}: no known layout; expected indptr.npy, src.npy, metadata.yaml, or the folders of OGB or IGB"
    )


def _open_file(
    path: Path, nodes: Mapping[str, int] | None, columns: str | None, part: str | None, ids: bool
) -> GraphFiles:
    if path.name == METADATA:
        return open_graphbolt(path, nodes, ids)
    if path.name.endswith("indptr.npy"):
        refuse_options(path, edge_ids=ids or None)
        return open_csc_files(path, nodes)
    edges = {NODE_TO_NODE: _open_edges(path, columns, part, ids)}
    return GraphFiles("file", count_nodes(edges, {}, nodes), edges)


def _open_edges(path: Path, columns: str | None, part: str | None, ids: bool) -> CooEdges:
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    if is_text(path):
        return open_text_edges(path, columns, ids)
    if path.suffix in _PARQUET:
        return open_parquet_edges(path, columns, ids)
    if path.suffix in _ARRAYS:
        return open_edge_index(path, part, ids=ids)
    raise InvalidArgument(f"{path}: the extension tells no file of edges; expected npy, npz, csv, tsv, txt or parquet")
