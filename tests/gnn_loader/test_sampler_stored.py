"""A stored graph is sampled like its arrays, in memory and mapped; damage in a mapped one is found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.sampler_oracle import check_structure, paper_graph
from tests.gnn_loader.test_sampler import same

from outcrop.embedded import Database
from outcrop.errors import CorruptFile
from outcrop.gnn_loader import ArrayGraph, NeighborSampler, NodeSeeds
from outcrop.gnn_loader.imports.sources import CscEdgeArrays, GraphArrays


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
