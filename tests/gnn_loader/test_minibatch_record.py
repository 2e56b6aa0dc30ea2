"""A minibatch's record: what the core writes, the twin reads, and the golden file holds."""

import random
from pathlib import Path

import numpy as np
import pytest

from outcrop import native
from outcrop.errors import CorruptFile
from outcrop.gnn_loader import ArrayGraph, NeighborSampler, NodeSeeds
from outcrop.gnn_loader.format import MinibatchRecord, unpack

GOLDEN = Path(__file__).parents[1] / "golden" / "minibatch_record_v1.bin"


def _aligned(data: bytes) -> np.ndarray:
    out = np.empty(len(data) // 8, np.uint64).view(np.uint8)
    out[:] = np.frombuffer(data, np.uint8)
    return out


def _sampled(**options: object) -> native.SampledMinibatch:
    indptr = np.arange(0, 101 * 3, 3)
    indices = np.random.default_rng(1).integers(0, 100, 300)
    sampler = NeighborSampler(ArrayGraph.homogeneous(indptr, indices), [2, 2], seed=5, **options)  # type: ignore[arg-type]
    return sampler.draw(NodeSeeds([3, 9, 3]), [np.arange(3, dtype=np.uint32)], epoch=4, first_batch=2)[0]


def test_the_golden_record_reads_as_it_was_made() -> None:
    found = unpack(_aligned(GOLDEN.read_bytes()), "golden")

    assert (found.epoch, found.batch, found.seed_type, found.link_src_type) == (3, 7, 1, 1)
    assert [nodes.tolist() for nodes in found.nodes] == [[10, 30, 40], [5, 6]]
    assert [offsets.tolist() for offsets in found.hop_offsets] == [[0, 0, 3], [0, 2, 2]]
    (layer,) = found.layers
    assert (layer.edge_type, layer.src_type, layer.dst_type, layer.hop) == (0, 0, 1, 0)
    assert (layer.dst_begin, layer.dst_end, layer.indptr.tolist()) == (0, 2, [0, 2, 3])
    assert (layer.indices.tolist(), layer.edges.tolist()) == ([1, 0, 2], [100, 101, 250])
    (stream,) = found.streams
    assert (stream.type, stream.moves.tolist()) == (0, [[0, 0, 0], [2, 1, 4096]])
    assert (stream.hit_slots.tolist(), stream.insert_rows.tolist(), stream.insert_slots.tolist()) == ([7], [1], [4])
    assert (found.seed_rows.tolist(), found.labels.tolist()) == ([0, 1, 0], [])


def test_the_core_accepts_the_golden_record() -> None:
    record = _aligned(GOLDEN.read_bytes())

    native.check_record(record, "golden", [50, 10], 1, [(8, 16, 8192)])
    minibatch = native.read_record(record, "golden")

    assert [nodes.tolist() for nodes in minibatch.nodes] == [[10, 30, 40], [5, 6]]
    with pytest.raises(CorruptFile, match="golden: hit slot: found 7, expected less than 7"):
        native.check_record(record, "golden", [50, 10], 1, [(7, 16, 8192)])


@pytest.mark.parametrize("options", [{}, {"keep_edges": True}, {"disjoint": True, "expand": "newcomers"}])
def test_the_twin_reads_what_the_core_writes(options: dict[str, object]) -> None:
    drawn = _sampled(**options)
    scheduler = native.Scheduler(0, 100, 4)
    recipe = scheduler.step(0, drawn, np.full(len(drawn.nodes[0]), native.NEVER, np.uint32))

    found = unpack(native.write_record(drawn, [recipe]), "record")

    assert (found.epoch, found.batch) == (4, 2)
    assert np.array_equal(found.nodes[0], drawn.nodes[0])
    assert np.array_equal(found.hop_offsets[0], drawn.hop_offsets[0])
    assert np.array_equal(found.trees[0], drawn.trees[0] if drawn.trees else [])
    assert np.array_equal(found.seed_rows, drawn.seed_rows)
    assert len(found.layers) == drawn.num_layers == 2
    for number, layer in enumerate(found.layers):
        expected = drawn.layer(number)
        numbers = (layer.edge_type, layer.hop, layer.dst_begin, layer.dst_end)
        assert numbers == expected[:4]
        for mine, theirs in zip((layer.indptr, layer.indices, layer.edges), expected[4:], strict=True):
            assert np.array_equal(mine, theirs)
    assert np.array_equal(found.streams[0].moves, recipe.segments)


def test_a_record_read_by_the_core_writes_the_same_bytes() -> None:
    record = native.write_record(_sampled(keep_edges=True), [])

    again = native.write_record(native.read_record(record, "record"), [])

    assert np.array_equal(record, again)


def test_a_damaged_record_is_refused_by_both_or_read_by_both() -> None:
    whole = GOLDEN.read_bytes()
    chance = random.Random(7)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[chance.randrange(512)] ^= 1 << chance.randrange(8)
        record = _aligned(bytes(damaged))
        try:
            found: MinibatchRecord | None = unpack(record, "damaged")
        except CorruptFile:
            found = None
        try:
            minibatch = native.read_record(record, "damaged")
        except CorruptFile:
            refused += 1
            continue
        assert found is not None
        assert [nodes.tolist() for nodes in found.nodes] == [nodes.tolist() for nodes in minibatch.nodes]

    assert 500 < refused < 2000
