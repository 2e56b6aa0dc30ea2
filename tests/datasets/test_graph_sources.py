"""Graphs open from every layout that people have, with the same edges, and refuse what they would have to guess."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from outcrop.datasets import edge_arrays, text_table
from outcrop.datasets.graph_files import both_directions
from outcrop.datasets.graphs import GraphFiles, open_graph, open_typed_edges
from outcrop.errors import CorruptFile, InvalidArgument, NotFound
from outcrop.gnn_loader import source_identity
from outcrop.types import NODE, NODE_TO_NODE

NODES = 50


@pytest.fixture(params=[0, 1])
def edges(request: pytest.FixtureRequest) -> np.ndarray:
    """Random edges int64 [300, 2], repeats included; node 49 is the last that any names."""
    random = np.random.default_rng(request.param)
    edges = random.integers(0, NODES, (300, 2))
    edges[7] = 49, 0
    return edges


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_arrays, "BATCH_EDGES", 64)
    monkeypatch.setattr(text_table, "_BATCH_LINES", 32)
    monkeypatch.setattr(text_table, "_BATCH_CHARACTERS", 150)


def all_edges(graph: GraphFiles, name: tuple[str, str, str] = NODE_TO_NODE) -> dict[str, np.ndarray]:
    """Every column of all batches, in order."""
    source: Any = graph.edges[name]
    batches = list(source.batches())
    columns = ("src", "dst", "weight", "time", "edge_id")
    found = {c: [getattr(batch, c) for batch in batches] for c in columns}
    joined = {c: np.concatenate(parts) for c, parts in found.items() if parts and parts[0] is not None}
    assert source.num_edges in (None, len(joined["src"]))
    dtypes = {c: array.dtype.name for c, array in joined.items()}
    assert dtypes == {c: "float32" if c == "weight" else "int64" for c in dtypes}
    return joined


def csv(path: Path, rows: np.ndarray, header: str | None = None, mark: str = ",") -> Path:
    text = "" if header is None else header + "\n"
    text += "".join(mark.join(map(str, row)) + "\n" for row in rows.tolist())
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def npz(path: Path, save: Callable[..., None], array: np.ndarray) -> Path:
    save(path, edges=array)
    return path


EDGE_FILES: Mapping[str, Callable[[Path, np.ndarray], Path]] = {
    "npy [n, 2]": lambda folder, edges: npy(folder / "e.npy", edges),
    "npy [2, n]": lambda folder, edges: npy(folder / "e.npy", np.ascontiguousarray(edges.T)),
    "npy [n, 2] in Fortran order": lambda folder, edges: npy(folder / "e.npy", np.asfortranarray(edges)),
    "npy [2, n] in Fortran order": lambda folder, edges: npy(folder / "e.npy", edges.T),
    "npy, big-endian u4": lambda folder, edges: npy(folder / "e.npy", edges.astype(">u4")),
    "npz [2, n]": lambda folder, edges: npz(folder / "e.npz", np.savez, np.ascontiguousarray(edges.T)),
    "npz [2, n], compressed": lambda folder, e: npz(folder / "e.npz", np.savez_compressed, np.ascontiguousarray(e.T)),
    "npz [n, 2], compressed": lambda folder, edges: npz(folder / "e.npz", np.savez_compressed, edges),
    "csv": lambda folder, edges: csv(folder / "e.csv", edges),
    "csv with a header": lambda folder, edges: csv(folder / "e.csv", edges[:, ::-1], "target,source"),
    "csv.gz with a quoted header": lambda folder, edges: csv(folder / "e.csv.gz", edges, '"src","dst"'),
    "tsv": lambda folder, edges: csv(folder / "e.tsv", edges, None, "\t"),
    "txt as SNAP has it": lambda folder, edges: csv(folder / "e.txt", edges, "# From To\n\n# 300 edges", "  "),
    "parquet": lambda folder, edges: parquet(folder / "e.parquet", dst=edges[:, 1], src=edges[:, 0].astype(np.int32)),
}


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=37)
    return path


@pytest.mark.parametrize("layout", EDGE_FILES)
def test_a_file_of_edges_gives_them_in_its_order(tmp_path: Path, edges: np.ndarray, layout: str) -> None:
    graph = open_graph(EDGE_FILES[layout](tmp_path, edges))

    found = all_edges(graph)
    assert set(found) == {"src", "dst"}
    np.testing.assert_array_equal(found["src"], edges[:, 0])
    np.testing.assert_array_equal(found["dst"], edges[:, 1])
    assert graph.node_counts == {NODE: NODES}


@pytest.mark.parametrize("layout", EDGE_FILES)
def test_edges_may_be_numbered_and_read_again(tmp_path: Path, edges: np.ndarray, layout: str) -> None:
    graph = open_graph(EDGE_FILES[layout](tmp_path, edges), edge_ids=True)

    for _ in range(2):
        np.testing.assert_array_equal(all_edges(graph)["edge_id"], np.arange(300))


def test_weights_times_and_ids_come_from_named_or_numbered_columns(tmp_path: Path, edges: np.ndarray) -> None:
    weight, time, ids = np.linspace(0, 1, 300), np.arange(300) - 5, np.arange(300)[::-1]
    rows = np.stack([edges[:, 0], edges[:, 1], time, ids], axis=1)
    csv(tmp_path / "named.csv", rows, "from,to,timestamp,eid")
    csv(tmp_path / "plain.csv", rows)
    parquet(tmp_path / "w.parquet", a=edges[:, 0], b=edges[:, 1], w=weight)

    for graph in (
        open_graph(tmp_path / "named.csv"),
        open_graph(tmp_path / "plain.csv", columns="src=0,dst=1,time=2,edge_id=3"),
    ):
        found = all_edges(graph)
        np.testing.assert_array_equal(found["time"], time)
        np.testing.assert_array_equal(found["edge_id"], ids)
    found = all_edges(open_graph(tmp_path / "w.parquet", columns="src=a, dst=b, weight=w"))
    np.testing.assert_array_equal(found["weight"], weight.astype(np.float32))


def test_a_folder_of_columns_may_hold_weights_and_times(tmp_path: Path, edges: np.ndarray) -> None:
    npy(tmp_path / "src.npy", edges[:, 0])
    npy(tmp_path / "dst.npy", edges[:, 1].astype(np.int32))
    npy(tmp_path / "weight.npy", np.linspace(0, 2, 300))
    npy(tmp_path / "time.npy", np.arange(300, dtype=np.uint16))

    found = all_edges(open_graph(tmp_path))

    np.testing.assert_array_equal(found["dst"], edges[:, 1])
    np.testing.assert_array_equal(found["weight"], np.linspace(0, 2, 300).astype(np.float32))
    np.testing.assert_array_equal(found["time"], np.arange(300))


def sorted_arrays(edges: np.ndarray, num_nodes: int = NODES) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((edges[:, 0], edges[:, 1]))
    return np.concatenate([[0], np.cumsum(np.bincount(edges[:, 1], minlength=num_nodes))]), edges[order, 0]


@pytest.mark.parametrize("prefix", ["", "sym_"])
def test_sorted_arrays_are_given_as_they_are(tmp_path: Path, edges: np.ndarray, prefix: str) -> None:
    indptr, indices = sorted_arrays(edges, 60)
    npy(tmp_path / f"{prefix}indptr.npy", indptr)
    npy(tmp_path / f"{prefix}indices.npy", indices)
    npy(tmp_path / f"{prefix}weights.npy", np.ones(300))
    npy(tmp_path / f"{prefix}node_times.npy", np.arange(60))

    graph = open_graph(tmp_path / "sym_indptr.npy" if prefix else tmp_path)

    source: Any = graph.edges[NODE_TO_NODE]
    assert source.form == "csc"
    np.testing.assert_array_equal(source.csc().indptr[:], indptr)
    np.testing.assert_array_equal(source.csc().indices[3:9], indices[3:9])
    assert source.csc().edge_ids is None
    assert graph.node_counts == {NODE: 60}
    assert graph.node_times is not None
    np.testing.assert_array_equal(graph.node_times[NODE], np.arange(60))
    found = all_edges(graph)
    np.testing.assert_array_equal(found["src"], indices)
    np.testing.assert_array_equal(found["dst"], np.sort(edges[:, 1]))
    np.testing.assert_array_equal(found["weight"], np.ones(300, np.float32))


@pytest.mark.parametrize("csc", [False, True])
def test_undirected_adds_every_reverse(tmp_path: Path, edges: np.ndarray, csc: bool) -> None:
    if csc:
        for name, array in zip(("indptr", "indices"), sorted_arrays(edges), strict=True):
            npy(tmp_path / f"{name}.npy", array)
    else:
        npy(tmp_path / "e.npy", edges)

    found = all_edges(open_graph(tmp_path if csc else tmp_path / "e.npy", undirected=True))

    expected = np.concatenate([edges, edges[:, ::-1]])
    given = np.stack([found["src"], found["dst"]], axis=1)
    np.testing.assert_array_equal(given[np.lexsort(given.T)], expected[np.lexsort(expected.T)])


def test_ogb_raw_text_of_one_type(tmp_path: Path, edges: np.ndarray) -> None:
    (tmp_path / "raw").mkdir()
    csv(tmp_path / "raw" / "edge.csv.gz", edges)
    csv(tmp_path / "raw" / "num-node-list.csv.gz", np.array([[70]]))

    for path in (tmp_path, tmp_path / "raw"):
        graph = open_graph(path)
        assert graph.node_counts == {NODE: 70}
        np.testing.assert_array_equal(all_edges(graph)["src"], edges[:, 0])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ogb_raw_arrays(tmp_path: Path, edges: np.ndarray, save: Callable[..., None]) -> None:
    save(
        tmp_path / "data.npz",
        edge_index=np.ascontiguousarray(edges.T),
        num_nodes_list=np.array([70]),
        node_feat=np.zeros((70, 3), np.float32),
    )

    graph = open_graph(tmp_path)

    assert graph.node_counts == {NODE: 70}
    np.testing.assert_array_equal(all_edges(graph)["dst"], edges[:, 1])


def test_ogb_raw_text_of_several_types(tmp_path: Path, edges: np.ndarray) -> None:
    csv(tmp_path / "triplet-type-list.csv.gz", np.array([["author", "writes", "paper"], ["paper", "cites", "paper"]]))
    csv(tmp_path / "num-node-dict.csv.gz", np.array([[50, 60, 5]]), "author,paper,field")
    for name in ("author___writes___paper", "paper___cites___paper"):
        (tmp_path / "relations" / name).mkdir(parents=True)
        csv(tmp_path / "relations" / name / "edge.csv.gz", edges)

    graph = open_graph(tmp_path)

    assert dict(graph.node_counts) == {"author": 50, "paper": 60, "field": 5}
    assert list(graph.edges) == [("author", "writes", "paper"), ("paper", "cites", "paper")]
    np.testing.assert_array_equal(all_edges(graph, ("author", "writes", "paper"))["src"], edges[:, 0])


def test_igb_counts_nodes_by_features_without_a_header(tmp_path: Path, edges: np.ndarray) -> None:
    processed = tmp_path / "processed"
    for name in ("paper__cites__paper", "paper__written_by__author", "paper", "author"):
        (processed / name).mkdir(parents=True)
    npy(processed / "paper__cites__paper" / "edge_index.npy", edges)
    npy(processed / "paper__written_by__author" / "edge_index.npy", edges)
    (processed / "paper" / "node_feat.npy").write_bytes(bytes(4096 * 64))
    npy(processed / "author" / "node_feat.npy", np.zeros((52, 7), np.float16))

    graph = open_graph(tmp_path)

    assert dict(graph.node_counts) == {"paper": 64, "author": 52}
    assert list(graph.edges) == [("paper", "cites", "paper"), ("paper", "written_by", "author")]
    assert open_graph(tmp_path, {"paper": 512}).node_counts["paper"] == 512
    with pytest.raises(InvalidArgument, match="author=53: its files say 52"):
        open_graph(tmp_path, {"author": 53})


METADATA = """
dataset_name: toy
graph:
  nodes:
    - {type: author, num: 60}
    - {type: paper, num: 70}
  edges:
    - {type: "author:writes:paper", format: csv, path: w.csv}
    - {type: "paper:cites:paper", format: numpy, path: c.npy}
feature_data:
  - {domain: node, type: paper, name: feat, format: numpy, in_memory: false, path: f.npy}
"""


def test_graphbolt_metadata(tmp_path: Path, edges: np.ndarray) -> None:
    (tmp_path / "metadata.yaml").write_text(METADATA)
    csv(tmp_path / "w.csv", edges)
    npy(tmp_path / "c.npy", np.ascontiguousarray(edges.T))

    for path in (tmp_path, tmp_path / "metadata.yaml"):
        graph = open_graph(path)
        assert dict(graph.node_counts) == {"author": 60, "paper": 70}
        for name in (("author", "writes", "paper"), ("paper", "cites", "paper")):
            np.testing.assert_array_equal(all_edges(graph, name)["dst"], edges[:, 1])


def test_graphbolt_metadata_of_one_type(tmp_path: Path, edges: np.ndarray) -> None:
    (tmp_path / "metadata.yaml").write_text(
        "graph: {nodes: [{num: 80}], edges: [{format: csv, path: e.csv}]}\nfeature_data:\n"
    )
    csv(tmp_path / "e.csv", edges)

    graph = open_graph(tmp_path)

    assert graph.node_counts == {NODE: 80}
    assert list(graph.edges) == [NODE_TO_NODE]


def test_files_of_several_types(tmp_path: Path, edges: np.ndarray) -> None:
    npy(tmp_path / "a.npy", edges)
    csv(tmp_path / "b.csv", edges[:9])
    files = {("user", "buys", "item"): tmp_path / "a.npy", ("item", "like", "item"): tmp_path / "b.csv"}

    graph = open_typed_edges(files, {"item": 99})

    assert dict(graph.node_counts) == {"user": 50, "item": 99}
    assert len(all_edges(graph, ("item", "like", "item"))["src"]) == 9


def test_an_import_can_tell_whether_a_source_is_the_same(tmp_path: Path, edges: np.ndarray) -> None:
    for layout, write in EDGE_FILES.items():
        path = write(tmp_path, edges)
        first, again, reversed_too = (
            source_identity(open_graph(path, {NODE: NODES}, undirected=both)) for both in (False, False, True)
        )

        assert first is not None, layout
        assert first == again, layout
        assert first != reversed_too, layout


def test_identities_change_with_the_file_and_with_what_is_read_of_it(tmp_path: Path, edges: np.ndarray) -> None:
    for layout, write in EDGE_FILES.items():
        path = write(tmp_path, edges)
        first, again, numbered = (
            open_graph(path, {NODE: NODES}, edge_ids=ids).edges[NODE_TO_NODE].identity() for ids in (False, False, True)
        )
        assert first == again, layout
        assert first != numbered, layout
        path = write(tmp_path, edges[:-1])
        assert open_graph(path, {NODE: NODES}).edges[NODE_TO_NODE].identity() != first, layout


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("e.npy", lambda path: npy(path, np.zeros((3, 5), np.int64)), r"\[n, 2\] or \[2, n\], found \[3, 5\]"),
        ("e.npy", lambda path: npy(path, np.zeros((5, 2))), "expected integers, found float64"),
        ("e.csv", lambda path: path.write_text("1,2,3\n"), "3 columns without names"),
        ("e.csv", lambda path: path.write_text("a,b\n1,2\n"), "0 could be src"),
        ("e.csv", lambda path: path.write_text("src,from,dst\n1,2,3\n"), "2 could be src"),
        ("e.csv", lambda path: path.write_text("# nothing\n"), "no lines"),
        ("e.csv", lambda path: path.write_text("1,2\n" * 40 + "\n3,4.5\n" + "1,2\n" * 40), "line 42: .* '3,4.5'"),
        ("e.csv", lambda path: path.write_text("1,2\n" * 40 + "3\n"), "line 41: .* found '3'"),
        ("e.csv", lambda path: path.write_bytes(b"1,2\n\xff\xfe,3\n"), "expected text"),
        ("e.parquet", lambda path: parquet(path, src=[1, None], dst=[1, 2]), "src: row 1 holds a null"),
        ("e.parquet", lambda path: parquet(path, src=[1.5], dst=[1]), "src: expected int64, found float64"),
        ("e.bin", lambda path: path.write_bytes(b"12"), "tells no file of edges"),
        ("sym_indptr.npy", lambda path: npy(path, np.array([0, 7])), "ends at 7, but .* holds 3 edges"),
        ("metadata.yaml", lambda path: path.write_text("graph: [1]"), "graph: expected names and values"),
        ("metadata.yaml", lambda path: path.write_text("a: [1"), "no YAML"),
        ("metadata.yaml", lambda path: path.write_text("graph: {nodes: [{num: -1}]}"), "number >= 0, found -1"),
        ("metadata.yaml", lambda path: path.write_text("graph: {edges: [{format: csv}]}"), "path is missing"),
        ("metadata.yaml", lambda path: path.write_text("graph: {edges: [{format: x, path: y}]}"), "expected csv or"),
        (
            "metadata.yaml",
            lambda path: path.write_text("graph: {edges: [{type: a, format: csv, path: y}]}"),
            "type 'a'",
        ),
    ],
)
def test_what_would_have_to_be_guessed_is_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], words: str
) -> None:
    npy(tmp_path / "sym_indices.npy", np.zeros(3, np.int64))
    write(tmp_path / name)

    with pytest.raises(InvalidArgument, match=words):
        all_edges(open_graph(tmp_path / name))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("src=0", "src and dst are needed"),
        ("src=0,dst=2", "no column '2'"),
        ("src=0,dst=1,src=1", "each role once"),
        ("src=0,dst=1,colour=1", "each role once"),
        ("0,1", "ROLE=COLUMN"),
    ],
)
def test_columns_are_checked(tmp_path: Path, columns: str, words: str) -> None:
    (tmp_path / "e.csv").write_text("1,2\n")

    with pytest.raises(InvalidArgument, match=words):
        open_graph(tmp_path / "e.csv", columns=columns)


def test_arguments_that_say_nothing_about_the_source_are_refused(tmp_path: Path) -> None:
    npy(tmp_path / "e.npy", np.zeros((3, 2), np.int64))
    npy(tmp_path / "indptr.npy", np.array([0, 1]))
    npy(tmp_path / "indices.npy", np.array([0]))

    with pytest.raises(InvalidArgument, match="only text tables and Parquet"):
        open_graph(tmp_path / "e.npy", columns="src=0,dst=1")
    with pytest.raises(InvalidArgument, match="edge_ids"):
        open_graph(tmp_path, edge_ids=True)
    with pytest.raises(InvalidArgument, match="there is no such type, found node"):
        open_graph(tmp_path / "e.npy", {"paper": 7})
    files = {("user", "buys", "item"): tmp_path / "e.npy"}
    typed = open_typed_edges(files)
    with pytest.raises(InvalidArgument, match="no reverse of the same type"):
        both_directions(typed)


def test_sources_that_are_not_there_or_of_no_layout(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_graph(tmp_path / "no.npy")
    with pytest.raises(InvalidArgument, match="no known layout"):
        open_graph(tmp_path)
    (tmp_path / "raw").mkdir()
    csv(tmp_path / "raw" / "edge.csv.gz", np.array([[0, 1]]))
    csv(tmp_path / "raw" / "num-node-list.csv.gz", np.array([[2], [3]]))
    with pytest.raises(InvalidArgument, match="holds 2 graphs"):
        open_graph(tmp_path)


def test_damaged_files_are_corrupt(tmp_path: Path, edges: np.ndarray) -> None:
    whole = gzip.compress(b"1,2\n" * 5000)
    (tmp_path / "e.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match="gzip"):
        all_edges(open_graph(tmp_path / "e.csv.gz"))
    path = npz(tmp_path / "e.npz", np.savez_compressed, edges)
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"e\.npz"):
        all_edges(open_graph(path))
    path.write_bytes(data[:100])
    with pytest.raises(CorruptFile, match="zip"):
        open_graph(path)
    npy(tmp_path / "e.npy", edges)
    (tmp_path / "e.npy").write_bytes((tmp_path / "e.npy").read_bytes()[:-1])
    with pytest.raises(CorruptFile, match="expected 4928 bytes"):
        open_graph(tmp_path / "e.npy")


def test_read_only_sources_are_fine(tmp_path: Path, edges: np.ndarray) -> None:
    npy(tmp_path / "e.npy", edges).chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(all_edges(open_graph(tmp_path / "e.npy"))["src"]) == 300
    finally:
        tmp_path.chmod(0o755)
