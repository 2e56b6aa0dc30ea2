"""A stored graph is sampled like its arrays, in memory and mapped; damage in a mapped one is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.sampler_oracle import check_structure, paper_graph
from tests.gnn_loader.test_sampler import same

from outcrop.embedded import Database
from outcrop.errors import Cancelled, CorruptFile, DeadlineExceeded, InvalidArgument
from outcrop.gnn_loader import ArrayGraph, CscEdgeArrays, GraphArrays, NeighborSampler, NodeSeeds
from outcrop.stop import Stop


def store(database: Database, graph: ArrayGraph) -> None:
    edges = {edge_type: CscEdgeArrays(arrays) for edge_type, arrays in graph.edges.items()}
    database.import_graph("papers", GraphArrays(graph.node_types, edges)).wait()


@pytest.mark.parametrize("placement", ["memory", "map"])
@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"labor": "shared"}, {"temporal": "uniform"}], ids=str)
def test_a_stored_graph_is_sampled_like_its_arrays(database: Database, placement: str, options: dict[str, Any]) -> None:
    times = "temporal" in options
    store(database, paper_graph(seed=21, times=times))
    seeds = NodeSeeds(np.arange(300), "paper", times=np.arange(300) % 50 if times else None)

    with database.graph("papers", placement=placement) as stored:
        arrays = ArrayGraph.of(stored.node_types, {name: stored.csc(name) for name in stored.edge_types})
        sampler = NeighborSampler(stored, [4, 3], seed=5, keep_edges=True, **options)
        minibatch = sampler.sample(seeds)
        check_structure(sampler, minibatch)

    expected = NeighborSampler(arrays, [4, 3], seed=5, keep_edges=True, **options).sample(seeds)
    assert same(minibatch, expected)
    assert same(sampler.sample(seeds), expected), "a sampler keeps the arrays of a closed graph"


def test_damage_in_a_mapped_graph_is_an_error_where_it_leads_out_of_the_graph(
    database: Database, tmp_path: Path
) -> None:
    store(database, paper_graph(seed=21))
    (file,) = (tmp_path / "root").rglob("indices-0.blk")
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xff" * 4096)

    with database.graph("papers", placement="map") as stored:
        sampler = NeighborSampler(stored, [4, 3])
        with pytest.raises(CorruptFile, match=r"edges paper-cites-paper: indices: place .* found 4294967295"):
            sampler.sample(NodeSeeds(np.arange(300), "paper"))


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"temporal": "last"}, {"expand": "newcomers"}], ids=str)
def test_a_stored_graph_draws_what_a_sampler_of_it_draws(database: Database, options: dict[str, Any]) -> None:
    times = "temporal" in options
    store(database, paper_graph(seed=3, times=times))
    seeds = NodeSeeds(np.arange(200), "paper", times=np.arange(200) % 50 if times else None)

    with database.graph("papers") as graph:
        for epoch, batch, seed in [(0, 0, 1), (0, 1, 1), (2, 7, 1), (2, 7, 9)]:
            drawn = graph.sample(seeds, [4, 3], epoch=epoch, batch=batch, seed=seed, keep_edges=True, **options)
            sampler = NeighborSampler(graph, [4, 3], seed=seed, keep_edges=True, **options)
            assert same(drawn, sampler.sample(seeds, epoch=epoch, batch=batch))


def test_drawing_from_a_stored_graph_ends_in_time_and_goes_on(database: Database) -> None:
    store(database, paper_graph(seed=3))
    seeds, cancelled = NodeSeeds(np.arange(200), "paper"), Stop()
    cancelled.set()

    with database.graph("papers") as graph:
        with pytest.raises(DeadlineExceeded):
            graph.sample(seeds, [4, 3], timeout=0)
        with pytest.raises(Cancelled):
            graph.sample(seeds, [4, 3], stop=cancelled)
        assert graph.sample(seeds, [4, 3], timeout=60).num_edges > 0


def test_drawing_from_a_closed_graph_is_refused(database: Database) -> None:
    store(database, paper_graph(seed=3))
    graph = database.graph("papers")
    graph.close()

    with pytest.raises(InvalidArgument, match="graph 'papers': it is closed"):
        graph.sample(NodeSeeds([0], "paper"), [2])


def test_what_is_opened_says_its_name_and_version(database: Database) -> None:
    store(database, paper_graph(seed=3))
    store(database, paper_graph(seed=4))
    database.import_features("x", np.zeros((5, 2), np.float32)).wait()

    with database.graph("papers") as graph, database.features("x") as table:
        assert (graph.name, graph.version, table.name, table.version) == ("papers", 2, "x", 1)
