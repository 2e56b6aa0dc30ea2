"""What a stored graph says of itself; in memory or mapped."""

import numpy as np
import pytest
from tests.gnn_loader.edge_oracle import check, expected_csc, random_edges, unsorted_csc

import outcrop
from outcrop.errors import CorruptFile, InvalidArgument, NotFound, ResourceExhausted
from outcrop.gnn_loader import Graph, GraphArrays, NeighborSampler, homogeneous
from outcrop.store import Accountant
from outcrop.types import NODE_TO_NODE


def test_several_types_of_nodes_and_edges(database, seed):
    rng = np.random.default_rng(seed)
    counts = {"paper": 50, "author": 20, "topic": 7}
    cites, writes = ("paper", "cites", "paper"), ("author", "writes", "paper")
    about = ("paper", "about", "topic")
    edges = {
        writes: random_edges(rng, 20, 50, 100, ["time"]),
        cites: unsorted_csc(random_edges(rng, 50, 50, 300, ["weight"]), 50, rng),
        about: random_edges(rng, 50, 7, 0),
    }
    times = {"paper": rng.integers(0, 9, 50).astype(np.int32)}

    database.import_graph("g", GraphArrays(counts, edges, times)).wait()

    with database.graph("g") as graph:
        assert graph.node_types == counts
        assert graph.edge_types == [writes, cites, about]
        assert (graph.num_nodes(), graph.num_nodes("topic")) == (77, 7)
        assert (graph.num_edges(), graph.num_edges(writes)) == (400, 100)
        check(graph.csc(writes), expected_csc(edges[writes], 50))
        assert (graph.times_ascend(writes), graph.times_ascend(cites)) == (True, False)
        assert graph.csc(cites).weights.dtype == np.float32
        assert graph.csc(about).indptr.tolist() == [0] * 8
        assert graph.csc(about).indices.size == 0
        assert np.array_equal(graph.node_times("paper"), times["paper"])
        assert graph.node_times("author") is None
        assert np.array_equal(graph.in_degrees(writes), np.bincount(edges[writes].dst, minlength=50))
        found = graph.statistics()
        assert found.num_nodes == counts
        degrees = graph.in_degrees(writes)
        shares = np.quantile(degrees, (0, 0.5, 0.9, 0.99, 1), method="lower")
        assert found.edges[writes].in_degrees == tuple(shares.tolist())
        assert (found.edges[about].mean_in_degree, found.edges[about].without_in_edges) == (0.0, 7)
        assert found.edges[cites].weights
        for call in (graph.csc, graph.num_edges, graph.in_degrees):
            with pytest.raises(NotFound, match="no edge type"):
                call(("paper", "cites", "author"))
        for call in (graph.num_nodes, graph.node_times):
            with pytest.raises(NotFound, match="no node type 'venue'; the graph has paper, author, topic"):
                call("venue")


def test_a_graph_lies_in_memory_where_it_fits_and_is_mapped_where_not(database, seed):
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, 10_000, 10_000, 100_000)
    database.import_graph("g", homogeneous(edges, 10_000)).wait()
    expected = expected_csc(edges, 10_000)

    for memory, asked, placement in [
        ("64MiB", "auto", "memory"),
        ("400KiB", "auto", "map"),
        ("64MiB", "map", "map"),
        ("64MiB", "memory", "memory"),
    ]:
        with database.graph("g", memory=memory, placement=asked) as graph:
            assert graph.placement == placement
            found = graph.csc(NODE_TO_NODE)
            check(found, expected)
            assert not found.indptr.flags.writeable
            assert not found.indices.flags.writeable
            held = graph.statistics().memory_bytes
            assert held == (found.indptr.nbytes + found.indices.nbytes if placement == "memory" else 0)
            assert NeighborSampler(graph, [3]).sample(np.arange(10)).nodes["node"].size >= 10
    with pytest.raises(ResourceExhausted, match=r'graph: its arrays take .* use placement "map"'):
        database.graph("g", memory="400KiB", placement="memory")
    with pytest.raises(InvalidArgument, match="placement: expected auto, memory, map; found 'disk'"):
        database.graph("g", placement="disk")


def test_arrays_outlive_their_graph_where_somebody_holds_them(database):
    database.import_graph("g", np.array([[0, 1], [1, 0]])).wait()
    for placement in ("memory", "map"):
        with database.graph("g", placement=placement) as graph:
            indices = graph.csc(NODE_TO_NODE).indices
        database.drop_graph("g") if placement == "map" else None
        assert indices.tolist() == [1, 0]


def test_a_read_only_root_is_read(database, tmp_path):
    database.import_graph("g", np.array([[0, 1], [1, 0]])).wait()
    with outcrop.connect(tmp_path / "root", read_only=True) as reading:
        with reading.graph("g", placement="map") as graph:
            assert graph.num_edges() == 2
        with pytest.raises(InvalidArgument, match="opened read-only"):
            reading.import_graph("h", np.array([[0, 1], [1, 0]]))


def test_damage_is_found_where_the_graph_is_loaded(database, tmp_path):
    database.import_graph("g", np.array([[0, 1], [1, 0]])).wait()
    (path,) = (tmp_path / "root" / "graphs").glob("*/v*/indices-0.blk")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\x07")
    with pytest.raises(CorruptFile, match=r"indices-0\.blk: block 1"):
        database.graph("g", placement="memory")
    with path.open("r+b") as file:
        file.write(b"\x07")
    with pytest.raises(CorruptFile, match=r"indices-0\.blk"):
        database.graph("g", placement="map")


def test_counts_that_do_not_agree_with_the_files_are_refused(database):
    database.import_graph("g", np.array([[0, 1], [1, 0]])).wait()
    root = database.connection.root
    lease = root.open_version(root.get("graphs", "g").id)
    lease.manifest.properties["edge_types"][0]["num_edges"] = 3
    with pytest.raises(CorruptFile, match="payload of 8 bytes, expected 12"):
        Graph.open(lease, Accountant(1 << 24))
