"""GraphBolt's `metadata.yaml`: the graph and the feature files that it names. Needs the extra `yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outcrop.datasets.array_file import ArrayFile, open_array
from outcrop.datasets.edge_arrays import open_edge_index
from outcrop.datasets.edge_tables import open_text_edges
from outcrop.datasets.graph_files import GraphFiles, count_nodes
from outcrop.datasets.raw_file import RawFile
from outcrop.errors import InvalidArgument, NotFound
from outcrop.types import NODE, NODE_TO_NODE, CooEdges, EdgeType

METADATA = "metadata.yaml"


def open_graphbolt(metadata: Path, asked: Mapping[str, int] | None = None, ids: bool = False) -> GraphFiles:
    """Open the graph of a `metadata.yaml`: edges in csv (two columns) or numpy ([2, n]).

    Types are omitted where there is only one. Raises InvalidArgument for what is not there or of another format; what
    GraphBolt itself made of such a folder, `preprocessed/`, is torch's and not read.
    """
    graph = _mapping(_document(metadata).get("graph"), metadata, "graph")
    known = {
        str(entry.get("type") or NODE): int(entry["num"])
        for entry in _entries(graph, "nodes", metadata)
        if _has(entry, "num", metadata)
    }
    edges: dict[EdgeType, CooEdges] = {}
    for entry in _entries(graph, "edges", metadata):
        name = NODE_TO_NODE if entry.get("type") is None else _edge_type(str(entry["type"]), metadata)
        path = metadata.parent / str(_value(entry, "path", metadata))
        edges[name] = _edges(entry, path, metadata, ids)
    return GraphFiles("graphbolt", count_nodes(edges, known, asked), edges)


def open_graphbolt_rows(metadata: Path, name: str) -> ArrayFile:
    """Open a node feature of a `metadata.yaml`. name: "feat", or "paper:feat" where there are several types.

    Raises NotFound, listing what there is, and InvalidArgument for a feature in torch's own format.
    """
    found = {}
    for entry in _entries(_document(metadata), "feature_data", metadata):
        if entry.get("domain") == "node":
            label = str(_value(entry, "name", metadata))
            found[f"{entry['type']}:{label}" if entry.get("type") else label] = entry
    matching = [key for key in found if key == name or key.partition(":")[2] == name]
    if len(matching) != 1:
        raise NotFound(f"{metadata}: {len(matching)} node features {name!r}, found {', '.join(found) or 'none'}")
    entry = found[matching[0]]
    if _value(entry, "format", metadata) != "numpy":
        raise InvalidArgument(f"{metadata}: {name}: format {entry['format']}, expected numpy")
    return open_array(metadata.parent / str(_value(entry, "path", metadata)))


def _edges(entry: Mapping[str, Any], path: Path, metadata: Path, ids: bool) -> CooEdges:
    format = _value(entry, "format", metadata)
    if format == "csv":
        return open_text_edges(path, "src=0,dst=1", ids)
    if format == "numpy":
        return open_edge_index(path, ids=ids)
    raise InvalidArgument(f"{metadata}: edges in format {format!r}, expected csv or numpy")


def _document(metadata: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise InvalidArgument("metadata.yaml needs PyYAML: pip install 'outcrop[yaml]'") from error
    RawFile(metadata).close()
    try:
        document = yaml.safe_load(metadata.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{metadata}: is no YAML: {error}") from error
    return _mapping(document, metadata, "the document")


def _entries(parent: Mapping[str, Any], key: str, metadata: Path) -> list[Mapping[str, Any]]:
    entries = parent.get(key) or []
    if not isinstance(entries, list):
        raise InvalidArgument(f"{metadata}: {key}: expected a list, found {entries!r}")
    return [_mapping(entry, metadata, key) for entry in entries]


def _mapping(value: Any, metadata: Path, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{metadata}: {what}: expected names and values, found {value!r}")
    return value


def _has(entry: Mapping[str, Any], key: str, metadata: Path) -> bool:
    if entry.get(key) is not None and not (isinstance(entry[key], int) and entry[key] >= 0):
        raise InvalidArgument(f"{metadata}: {key}: expected a number >= 0, found {entry[key]!r}")
    return entry.get(key) is not None


def _value(entry: Mapping[str, Any], key: str, metadata: Path) -> Any:
    if entry.get(key) is None:
        raise InvalidArgument(f"{metadata}: {key} is missing in {dict(entry)}")
    return entry[key]


def _edge_type(name: str, metadata: Path) -> EdgeType:
    parts = name.split(":")
    if len(parts) != 3 or not all(parts):
        raise InvalidArgument(f"{metadata}: edge type {name!r}, expected one such as author:writes:paper")
    return parts[0], parts[1], parts[2]
