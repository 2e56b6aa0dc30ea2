"""Sampled minibatches, scheduled: recipes fetch what was sampled, and nobody could fetch less."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from tests.belady import belady_misses

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import ArrayGraph, Minibatch, NeighborSampler, NodeSeeds, SeedBatches
from outcrop.types import CscArrays, EdgeType, UInt32Array

USERS, ITEMS = 900, 1500
BOUGHT_BY: EdgeType = ("item", "bought_by", "user")
LIKES: EdgeType = ("user", "likes", "item")
Slab = npt.NDArray[np.int64]


def edges(num_src: int, num_dst: int, rng: np.random.Generator) -> CscArrays:
    degrees = rng.integers(0, 9, num_dst)
    indices = (num_src * rng.random(int(degrees.sum())) ** 2).astype(np.uint32)
    return CscArrays(np.concatenate(([0], np.cumsum(degrees))), indices)


@pytest.fixture(params=[False, True], ids=["shared", "trees"])
def sampler(request: pytest.FixtureRequest) -> NeighborSampler:
    rng = np.random.default_rng(11)
    graph = ArrayGraph.of(
        {"user": USERS, "item": ITEMS}, {BOUGHT_BY: edges(ITEMS, USERS, rng), LIKES: edges(USERS, ITEMS, rng)}
    )
    return NeighborSampler(graph, [4, 3], seed=5, disjoint=request.param)


def draw(sampler: NeighborSampler) -> list[native.SampledMinibatch]:
    batches = SeedBatches(NodeSeeds(np.arange(600), "user"), 40, seed=1)
    return sampler.draw(batches.seeds, list(batches.epoch(0)), epoch=0, first_batch=0)


def next_uses_of(requests: list[UInt32Array], num_rows: int) -> list[UInt32Array]:
    future = native.NextUses(num_rows)
    return [future.before(r, requests[r]) for r in range(len(requests) - 1, -1, -1)][::-1]


def edges_by_id(minibatch: Minibatch) -> list[list[tuple[int, int, int]]]:
    """Each layer's edges as ids, column by column of each destination, with trees told apart."""
    found = []
    for layer in minibatch.layers:
        src, _, dst = layer.edge_type
        columns = layer.dst_begin + np.repeat(np.arange(len(layer.indptr) - 1), np.diff(layer.indptr))
        trees = minibatch.trees[dst][columns] if minibatch.trees else np.zeros_like(columns)
        ends = (trees, minibatch.nodes[dst][columns], minibatch.nodes[src][layer.indices])
        found.append(sorted(zip(*(end.tolist() for end in ends), strict=True)))
    return found


def execute(recipe: native.StreamRecipe, nodes: UInt32Array, slab: Slab) -> UInt32Array:
    """Return the ids that the recipe fetches: from the log what it has there by definition, from the slab the rest."""
    fetched, row, hit = nodes.copy(), 0, 0
    for misses, hits, _ in recipe.segments.tolist():
        assert (np.diff(nodes[row : row + misses].astype(np.int64)) >= 0).all()
        slots = recipe.hit_slots[hit : hit + hits]
        assert (np.diff(slots.astype(np.int64)) >= 0).all()
        fetched[row + misses : row + misses + hits] = slab[slots]
        row, hit = row + misses + hits, hit + hits
    slab[recipe.insert_slots] = nodes[recipe.insert_rows]
    assert (row, hit) == (len(nodes), len(recipe.hit_slots))
    return fetched


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.7, 1.0])
def test_recipes_fetch_what_was_sampled_with_the_fewest_misses(sampler: NeighborSampler, share: float) -> None:
    plain, scheduled = draw(sampler), draw(sampler)
    rows = [USERS, ITEMS]
    schedulers = [native.Scheduler(t, rows[t], int(share * rows[t])) for t in range(2)]
    futures = [next_uses_of([drawn.nodes[t] for drawn in plain], rows[t]) for t in range(2)]
    slabs = [np.full(int(share * count), -1) for count in rows]

    for request, drawn in enumerate(scheduled):
        for t in range(2):
            recipe = schedulers[t].step(request, drawn, futures[t][request])
            np.testing.assert_array_equal(execute(recipe, drawn.nodes[t], slabs[t]), drawn.nodes[t])
            segments = np.concatenate(([0], np.cumsum(recipe.segments[:, :2].sum(1))))
            np.testing.assert_array_equal(segments, drawn.hop_offsets[t])
        before, after = sampler.minibatch(plain[request]), sampler.minibatch(drawn)
        np.testing.assert_array_equal(after.seeds, before.seeds)
        assert edges_by_id(after) == edges_by_id(before)

    for t in range(2):
        requests = [drawn.nodes[t] for drawn in plain]
        misses = schedulers[t].cache.statistics().misses
        repeated = sum(len(keys) - len(np.unique(keys)) for keys in requests)
        if repeated == 0:
            assert misses == belady_misses(requests, rows[t], int(share * rows[t]))
        else:
            # Rows of other trees are missed with their first one, or hit with it.
            least = belady_misses([np.unique(keys) for keys in requests], rows[t], int(share * rows[t]))
            assert least <= misses <= least + repeated


def test_a_cache_is_carried_into_the_next_sequence(sampler: NeighborSampler) -> None:
    first, second = draw(sampler)[:7], draw(sampler)[7:]
    future = native.NextUses(USERS)
    uses = [future.before(r, second[r].nodes[0]) for r in range(len(second) - 1, -1, -1)][::-1]
    one = native.Scheduler(0, USERS, 300)
    slab = np.full(300, -1)
    for request, next_use in enumerate(next_uses_of([d.nodes[0] for d in first], USERS)):
        unknown = np.where(next_use == native.NEVER, np.uint32(native.UNKNOWN), next_use)
        recipe = one.step(request, first[request], unknown)
        execute(recipe, first[request].nodes[0], slab)

    keys, slots, _ = one.cache.contents()
    starts = future.first(keys)
    other = native.Scheduler(0, USERS, 300)
    wanted = starts != native.NEVER
    other.cache.load(keys[wanted], slots[wanted], starts[wanted])

    assert wanted.any()
    hits_at_once = 0
    for request, drawn in enumerate(second):
        recipe = other.step(request, drawn, uses[request])
        np.testing.assert_array_equal(execute(recipe, drawn.nodes[0], slab), drawn.nodes[0])
        hits_at_once += len(recipe.hit_slots) if request == 0 else 0
    assert hits_at_once > 0


def test_a_log_has_a_place_for_each_segment_with_misses(sampler: NeighborSampler) -> None:
    drawn = draw(sampler)[0]
    recipe = native.Scheduler(1, ITEMS, 0).step(0, drawn, np.full(len(drawn.nodes[1]), native.NEVER, np.uint32))

    end = recipe.place_in_log(100, 5000)

    base, last = 0, 5000
    for misses, hits, offset in recipe.segments.tolist():
        if misses:
            assert offset % 4096 == base * 100 % 4096
            assert last <= offset < last + 8192
            last = offset + misses * 100
        base += misses + hits
    assert end == last


def test_next_uses_must_be_those_of_the_minibatch(sampler: NeighborSampler) -> None:
    drawn = draw(sampler)[0]
    with pytest.raises(InvalidArgument, match="but 3 next uses"):
        native.Scheduler(0, USERS, 10).step(0, drawn, np.full(3, native.NEVER, np.uint32))
    with pytest.raises(InvalidArgument, match="expected node type 2"):
        native.Scheduler(2, USERS, 10).step(0, drawn, np.zeros(0, np.uint32))
