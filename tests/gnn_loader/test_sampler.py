"""What the sampler draws has the right shape, and comes out the same however it is drawn."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
from tests.gnn_loader.sampler_oracle import CITES, WRITES, WRITTEN_BY, check_structure, paper_graph, random_csc

from outcrop import native
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import EdgeSeeds, Minibatch, NodeSeeds, SamplerOptions

OPTIONS: list[dict[str, Any]] = [
    {},
    {"expand": "newcomers"},
    {"replace": True},
    {"weighted": True},
    {"weighted": True, "replace": True},
    {"labor": "per_hop"},
    {"labor": "shared", "weighted": True},
    {"disjoint": True},
    {"disjoint": True, "expand": "newcomers", "replace": True},
]


def chain_graph() -> ArrayGraph:
    """0 <- 1 <- 2 <- 3 <- 4, and 0 <- 2."""
    return ArrayGraph.homogeneous(np.array([0, 2, 3, 4, 5, 5]), np.array([1, 2, 2, 3, 4]))


def same(a: Minibatch, b: Minibatch) -> bool:
    parts = [(a.seed_rows, b.seed_rows), *((a.nodes[name], b.nodes[name]) for name in a.nodes)]
    for one, other in zip(a.layers, b.layers, strict=True):
        parts += [(one.indptr, other.indptr), (one.indices, other.indices), (one.edges, other.edges)]
    return all(np.array_equal(x, y) for x, y in parts)


def test_a_full_neighbourhood_is_read_hop_by_hop() -> None:
    sampler = NeighborSampler(chain_graph(), [-1, -1], keep_edges=True)

    minibatch = sampler.sample([0])

    assert minibatch.nodes["node"].tolist() == [0, 1, 2, 3]
    assert minibatch.hop_offsets["node"].tolist() == [0, 1, 3, 4]
    first, second = minibatch.layers
    assert (first.dst_begin, first.dst_end) == (0, 1)
    assert first.indices.tolist() == [1, 2]
    assert (second.dst_begin, second.dst_end) == (0, 3)
    assert second.indptr.tolist() == [0, 2, 3, 4]
    assert second.indices.tolist() == [1, 2, 2, 3]
    assert second.edges is not None
    assert second.edges.tolist() == [0, 1, 2, 3]


def test_newcomers_draw_once() -> None:
    sampler = NeighborSampler(chain_graph(), [-1, -1], expand="newcomers")

    minibatch = sampler.sample([0])

    assert (minibatch.layers[1].dst_begin, minibatch.layers[1].dst_end) == (1, 3)
    assert minibatch.layers[1].indices.tolist() == [2, 3]


def test_repeated_seeds_share_a_row_and_keep_their_order() -> None:
    minibatch = NeighborSampler(chain_graph(), [1]).sample([3, 1, 3])

    assert minibatch.seed_rows.tolist() == [0, 1, 0]
    assert minibatch.seeds.tolist() == [3, 1, 3]


def test_disjoint_trees_repeat_a_node_for_each_seed() -> None:
    minibatch = NeighborSampler(chain_graph(), [-1], disjoint=True).sample([0, 1, 0])

    assert minibatch.trees is not None
    assert minibatch.nodes["node"].tolist() == [0, 1, 0, 1, 2, 2, 1, 2]
    assert minibatch.trees["node"].tolist() == [0, 1, 2, 0, 0, 1, 2, 2]


def test_edges_are_left_out_unless_asked_for() -> None:
    assert NeighborSampler(chain_graph(), [-1]).sample([0]).layers[0].edges is None


def test_no_seeds_make_an_empty_minibatch() -> None:
    minibatch = NeighborSampler(chain_graph(), [2, 2]).sample([])

    assert minibatch.nodes["node"].tolist() == []
    assert [layer.num_edges for layer in minibatch.layers] == [0, 0]


def test_no_hops_want_the_seeds_alone() -> None:
    minibatch = NeighborSampler(chain_graph(), []).sample([2])

    assert minibatch.nodes["node"].tolist() == [2]
    assert minibatch.num_hops == 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_edge_exists_and_every_column_has_its_number(options: dict[str, Any], seed: int) -> None:
    sampler = NeighborSampler(paper_graph(seed), [3, 2, 1], seed=seed, keep_edges=True, **options)
    seeds = SeedBatches(NodeSeeds(np.arange(300), "paper"), batch_size=70)

    for minibatch in sampler.sample_many(seeds):
        check_structure(sampler, minibatch)


def test_fan_outs_go_by_edge_type() -> None:
    by_hop = [{CITES: 3, WRITES: -1}, {WRITTEN_BY: 2}]
    sampler = NeighborSampler(paper_graph(seed=6), by_hop, keep_edges=True)
    by_type = NeighborSampler(paper_graph(seed=6), {CITES: [3, 0], WRITES: [-1, 0], WRITTEN_BY: [0, 2]})

    minibatch = sampler.sample(NodeSeeds(np.arange(150, 200), "paper"))

    check_structure(sampler, minibatch)
    assert [layer.edge_type for layer in minibatch.layers] == [CITES, WRITES, WRITTEN_BY]
    assert by_type.options.fanouts == sampler.options.fanouts


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_minibatches_do_not_depend_on_the_number_of_threads(options: dict[str, Any], seed: int) -> None:
    seeds = SeedBatches(NodeSeeds(np.arange(300), "paper"), batch_size=20, seed=seed)

    def epoch(threads: int) -> list[Minibatch]:
        sampler = NeighborSampler(paper_graph(seed), [4, 3], seed=seed, keep_edges=True, **options)
        return list(sampler.sample_many(seeds, epoch=3, threads=threads))

    alone = epoch(1)

    assert len(alone) == 15
    for threads in (2, 4):
        assert all(same(a, b) for a, b in zip(alone, epoch(threads), strict=True))


def test_one_minibatch_can_be_drawn_again_alone() -> None:
    sampler = NeighborSampler(paper_graph(seed=7), [4, 3], seed=2)
    seeds = SeedBatches(NodeSeeds(np.arange(300), "paper"), batch_size=20, seed=9)
    epoch = list(sampler.sample_many(seeds, epoch=3))

    (again,) = sampler.sample_many(seeds, epoch=3, first_batch=11, count=1)

    assert (again.epoch, again.batch) == (3, 11)
    assert same(again, epoch[11])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"batch": 1}], ids=str)
def test_seed_epoch_and_batch_each_change_what_is_drawn(change: dict[str, int]) -> None:
    def drawn(seed: int = 0, epoch: int = 0, batch: int = 0) -> Minibatch:
        sampler = NeighborSampler(paper_graph(seed=8), [3], seed=seed)
        return sampler.sample(NodeSeeds(np.arange(300), "paper"), epoch=epoch, batch=batch)

    assert same(drawn(), drawn())
    assert not same(drawn(), drawn(**change))


def test_links_come_with_drawn_ones_behind_them() -> None:
    pairs = np.stack([np.arange(40), np.arange(300)[-40:]], axis=1)
    sampler = NeighborSampler(paper_graph(seed=9), [3, 2], keep_edges=True)

    minibatch = sampler.sample(EdgeSeeds(pairs, WRITES, negatives=3))

    check_structure(sampler, minibatch)
    assert minibatch.labels is not None
    assert minibatch.labels.tolist() == [1] * 40 + [0] * 120
    assert (minibatch.seeds[:40] == pairs).all()
    assert (minibatch.seeds[40:, 0] == np.repeat(pairs[:, 0], 3)).all()
    assert len(np.unique(minibatch.seeds[40:, 1])) > 60
    assert (minibatch.link_src_type, minibatch.seed_type) == ("author", "paper")


def test_wide_columns_are_sampled_like_narrow_ones() -> None:
    indptr = np.array([0, 5000, 5000 + 65, 5000 + 65 + 64])
    graph = ArrayGraph.of({"src": 5000, "dst": 3}, {("src", "to", "dst"): _wide(indptr)})
    sampler = NeighborSampler(graph, [64], keep_edges=True)

    minibatch = sampler.sample(NodeSeeds([0, 1, 2], "dst"))

    check_structure(sampler, minibatch)


def _wide(indptr: np.ndarray[Any, Any]) -> Any:
    return random_csc(1, 1, 0)._replace(
        indptr=indptr, indices=np.concatenate([np.arange(n) for n in np.diff(indptr)]), weights=None
    )


def test_views_outlive_the_minibatch() -> None:
    minibatch = NeighborSampler(chain_graph(), [2]).sample([0, 1])
    nodes, indices = minibatch.nodes["node"], minibatch.layers[0].indices
    expected = nodes.tolist(), indices.tolist()

    del minibatch
    _ = [NeighborSampler(chain_graph(), [2]).sample([0, 1]) for _ in range(50)]

    assert (nodes.tolist(), indices.tolist()) == expected
    assert not nodes.flags.writeable


def test_a_sampler_keeps_the_arrays_it_reads() -> None:
    sampler = NeighborSampler(ArrayGraph.homogeneous(np.arange(1001), np.arange(1000)), [1])

    _ = [np.full(1001, -7) for _ in range(100)]

    assert sampler.sample(np.arange(1000)).layers[0].num_edges == 1000


def test_draws_stay_what_they_were() -> None:
    """A plan may keep a seed instead of what it draws: changing these numbers makes such plans stale."""
    sampler = NeighborSampler(ArrayGraph.homogeneous(np.arange(101) * 50, np.arange(5000) % 100), [4], seed=1)

    minibatch = sampler.sample([7, 8], epoch=2, batch=3)

    assert minibatch.nodes["node"].tolist() == [7, 8, 56, 58, 72, 82, 0, 12, 41, 43]
    assert native.seed_order(8, 1, 2).tolist() == [3, 2, 0, 7, 6, 5, 4, 1]


def test_a_sampler_goes_to_other_processes_and_draws_the_same() -> None:
    sampler = NeighborSampler(paper_graph(seed=7), [4, 3], seed=2, weighted=True, keep_edges=True)
    seeds = NodeSeeds(np.arange(100), "paper")

    there = pickle.loads(pickle.dumps(sampler))

    assert there.options == sampler.options
    assert same(sampler.sample(seeds), there.sample(seeds))


def test_options_come_back_from_json() -> None:
    options = NeighborSampler(paper_graph(seed=7), [4, -1], seed=2**64 - 1, labor="shared").options

    assert SamplerOptions.from_json(json.loads(json.dumps(options.as_json()))) == options


def test_statistics_count_what_was_drawn() -> None:
    sampler = NeighborSampler(paper_graph(seed=7), [4, 3])

    drawn = list(sampler.sample_many(SeedBatches(NodeSeeds(np.arange(300), "paper"), batch_size=50), threads=2))

    found = sampler.statistics()
    assert found.minibatches == 6
    assert found.edges == sum(minibatch.num_edges for minibatch in drawn)
    assert found.rows == sum(len(nodes) for minibatch in drawn for nodes in minibatch.nodes.values())
    assert 0 < found.scratch_bytes < 1 << 20
