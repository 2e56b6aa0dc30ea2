"""`outcrop graph` imports graphs, describes them and makes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import outcrop as api
from outcrop.cli.exit_codes import ExitCode
from outcrop.types import NODE_TO_NODE

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


EDGES = np.array([[0, 1], [2, 1], [3, 1], [1, 0], [3, 2], [4, 2]])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    np.save(tmp_path / "edges.npy", EDGES)
    (tmp_path / "edges.csv").write_text("from,to,weight\n" + "".join(f"{a},{b},{a}.5\n" for a, b in EDGES.tolist()))
    return tmp_path / "root"


def test_import_stores_the_edges_by_destination(ok: Ok, root: Path) -> None:
    report = ok("graph", "import", "g", root.parent / "edges.npy", "--path", root, "--memory", "16MiB")

    assert (report["format"], report["graph"]["num_nodes"], report["graph"]["num_edges"]) == ("file", {"node": 5}, 6)
    with api.connect(root, read_only=True) as database, database.graph("g") as graph:
        arrays = graph.csc(NODE_TO_NODE)
        assert arrays.indptr.tolist() == [0, 1, 4, 6, 6, 6]
        assert arrays.indices.tolist() == [1, 0, 2, 3, 3, 4]


def test_import_takes_columns_nodes_ids_and_reverses(ok: Ok, root: Path) -> None:
    options = ["--columns", "src=from,dst=to,weight=weight", "--nodes", "9", "--edge-ids", "--undirected"]

    graph = ok("graph", "import", "g", root.parent / "edges.csv", "--path", root, *options)["graph"]

    assert graph["num_nodes"] == {"node": 9}
    (edges,) = graph["edges"]
    assert edges == {
        "edge_type": "node:to:node",
        "num_edges": 12,
        "mean_in_degree": 12 / 9,
        "in_degrees": [0, 1, 3, 3, 4],
        "without_in_edges": 4,
        "columns": ["weight", "edge_id"],
    }


def test_import_of_several_edge_types(ok: Ok, root: Path) -> None:
    npy, csv = root.parent / "edges.npy", root.parent / "edges.csv"

    graph = ok(
        "graph", "import", "g", f"user:buys:item={npy}", f"item:like:item={csv}", "--nodes", "item=7", "--path", root
    )["graph"]

    assert graph["num_nodes"] == {"user": 5, "item": 7}
    assert [edges["edge_type"] for edges in graph["edges"]] == ["user:buys:item", "item:like:item"]


def test_a_made_graph_imports_as_a_folder(ok: Ok, root: Path) -> None:
    made = ok("graph", "make", root.parent / "g", "--nodes", "3000", "--seed", "5")

    report = ok("graph", "import", "g", root.parent / "g", "--path", root)

    assert report["format"] == "csc"
    assert report["graph"]["num_edges"] == made["num_edges"]
    with api.connect(root, read_only=True) as database, database.graph("g") as graph:
        np.testing.assert_array_equal(graph.csc(NODE_TO_NODE).indices, np.load(root.parent / "g" / "indices.npy"))


def test_one_of_several_arrays_is_imported_by_name(ok: Ok, root: Path) -> None:
    np.savez(root.parent / "two.npz", a=EDGES[:2], b=EDGES)

    report = ok("graph", "import", "g", root.parent / "two.npz", "--part", "b", "--path", root)

    assert report["graph"]["num_edges"] == 6


def test_a_graph_whose_import_failed_is_listed_as_empty(outcrop: Outcrop, ok: Ok, root: Path) -> None:
    outcrop("graph", "import", "g", root.parent / "edges.npy", "--nodes", "4", "--path", root)

    (brief,) = ok("graph", "stats", "--path", root)
    assert (brief["name"], brief["version"]) == ("g", None)
    assert outcrop("graph", "stats", "g", "--path", root).exit_code == ExitCode.NOT_FOUND
    assert ok("graph", "import", "g", root.parent / "edges.npy", "--path", root)["graph"]["version"] == 1


def test_importing_again_makes_a_new_version(ok: Ok, root: Path) -> None:
    for version in (1, 2):
        report = ok("graph", "import", "g", root.parent / "edges.npy", "--path", root)
        assert report["graph"]["version"] == version


def test_stats_lists_graphs_or_shows_one(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    for name in ("b", "a"):
        ok("graph", "import", name, root.parent / "edges.csv", "--path", root)

    assert [graph["name"] for graph in ok("graph", "stats", "--path", root)] == ["a", "b"]
    assert ok("graph", "stats", "a", "--path", root)["num_edges"] == 6
    text = outcrop("graph", "stats", "a", "--path", root).stdout
    assert "node:to:node" in text
    assert "weight" in text
    assert " a " in outcrop("graph", "stats", "--path", root).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["import", "g", "no/such.npy"], ExitCode.NOT_FOUND, "no/such.npy"),
        (["import", "g", "{folder}/edges.npy", "--nodes", "4"], ExitCode.USAGE, "edge 5: source 4, expected 0 to 3"),
        (["import", "g", "{folder}/two.npz"], ExitCode.USAGE, "holds a, b; name the part"),
        (["import", "g", "{folder}/edges.npy", "--part", "a"], ExitCode.USAGE, "only npz files have parts"),
        (["import", "g", "a:b:c={folder}/two.npz", "--part", "a"], ExitCode.USAGE, "--part a: is for one file"),
        (["import", "g", "{folder}/edges.npy", "--nodes", "many"], ExitCode.USAGE, "expected a number"),
        (["import", "g", "{folder}/edges.npy", "--nodes", "a=1,a=2"], ExitCode.USAGE, "expected a number"),
        (["import", "g", "{folder}/edges.npy", "--columns", "src=0,dst=1"], ExitCode.USAGE, "only text tables"),
        (["import", "g", "{folder}/edges.csv", "--columns", "src=x,dst=to"], ExitCode.USAGE, "no column 'x'"),
        (["import", "g", "a:b={folder}/edges.npy"], ExitCode.USAGE, "TYPE:RELATION:TYPE=FILE"),
        (["import", "g", "a:b:c={folder}/edges.npy", "a:b:c={folder}/edges.csv"], ExitCode.USAGE, "has a file already"),
        (["import", "g", "a:b:c={folder}/edges.npy", "--undirected"], ExitCode.USAGE, "--undirected"),
        (["import", "../g", "{folder}/edges.npy"], ExitCode.USAGE, "../g"),
        (["stats", "g", "--path", "{folder}/root"], ExitCode.NOT_FOUND, "g"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_an_exit_code(
    outcrop: Outcrop, ok: Ok, root: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    ok("graph", "import", "other", root.parent / "edges.npy", "--path", root)

    np.savez(root.parent / "two.npz", a=EDGES, b=EDGES)

    result = outcrop("graph", *(argument.format(folder=root.parent) for argument in arguments), "--path", root)

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_make_writes_a_folder_of_arrays(ok: Ok, tmp_path: Path) -> None:
    made = ok(
        "graph", "make", tmp_path / "g", "--nodes", "900", "--degree", "6", "--dim", "4", "--classes", "3",
        "--dtype", "float16", "--train", "0.5", "--seed", "1",
    )  # fmt: skip

    assert made["shape"] == {"num_nodes": 900, "degree": 6, "dim": 4, "num_classes": 3, "seed": 1}
    assert np.load(tmp_path / "g" / "features.npy").shape == (900, 4)
    assert len(np.load(tmp_path / "g" / "indices.npy")) == made["num_edges"]
    assert len(np.load(tmp_path / "g" / "train_idx.npy")) == 450


@pytest.mark.parametrize("before", [[], ["--quiet"]])
def test_dataset_make_graph_is_the_same_command(ok: Ok, tmp_path: Path, before: list[str]) -> None:
    ok("graph", "make", tmp_path / "a", "--nodes", "200")
    ok(*before, "dataset", "make", "graph", tmp_path / "b", "--nodes", "200")

    for file in (tmp_path / "a").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_make_tells_what_it_made(outcrop: Outcrop, tmp_path: Path) -> None:
    text = outcrop("graph", "make", tmp_path / "g", "--nodes", "1000").stdout

    assert "1,000 nodes" in text
    assert "16 classes" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "{folder}/g", "--nodes", "100", "--degree", "60"], "mean degree of 0 to 24"),
        (["make", "{folder}/g", "--dtype", "int8"], "expected float32 or float16, found 'int8'"),
        (["make", "{folder}/g", "--train", "0.9", "--val", "0.2"], "at most 1 together"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = outcrop("graph", *(argument.format(folder=tmp_path) for argument in arguments))

    assert result.exit_code == ExitCode.USAGE, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
