"""The slab of a device gives the right rows, sends only those that it lacks, and keeps the ones used soonest.

On the processor everywhere, on CUDA where there is one.
"""

from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import papers, random_graph
from tests.gnn_loader.adapters.minibatches import planned

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.device_slab import LINE_BYTES, DeviceLoader, DeviceSlab
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import AnyArray, NodeSeeds, UInt32Array

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


def requests(seed: int, num_rows: int, count: int) -> list[UInt32Array]:
    rng = np.random.default_rng(seed)
    popular = rng.permutation(num_rows)
    sizes = rng.integers(0, num_rows // 2, count)
    return [
        rng.permutation(popular[np.unique((num_rows * rng.random(n) ** 3).astype(int))]).astype(np.uint32)
        for n in sizes
    ]


def run(table: AnyArray, slab: DeviceSlab, trace: list[UInt32Array], window: int) -> None:
    """Gather every request of the trace and compare it with the table."""
    for number, keys in enumerate(trace):
        for ahead in trace[:window] if number == 0 else trace[number + window - 1 : number + window]:
            slab.announce(ahead)
        rows = torch.from_numpy(table[keys])

        gathered = slab.gather(keys, rows)

        assert gathered.device.type == slab.device.type
        assert np.array_equal(gathered.cpu().numpy().view(np.uint8), rows.numpy().view(np.uint8))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("capacity", [0, 1, 7, 40, 100, 1000])
@pytest.mark.parametrize("window", [1, 3, 30])
def test_rows_are_those_of_the_table(device: str, capacity: int, window: int) -> None:
    table = np.random.default_rng(1).normal(size=(100, 32)).astype(np.float32)
    slab = DeviceSlab(100, torch.from_numpy(table[0]), capacity * 128, device)

    trace = requests(capacity, 100, 30)
    run(table, slab, trace, window)

    statistics = slab.statistics()
    assert statistics.capacity == min(capacity, 100)
    assert statistics.hits + statistics.misses == sum(map(len, trace))
    assert statistics.sent_bytes == statistics.misses * 128


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "dtype", "stride_bytes"),
    [
        ((), np.int64, 8),
        ((3,), np.float32, 16),
        ((33,), np.float32, 256),
        ((2, 5), np.float16, 32),
        ((100,), np.uint8, 128),
    ],
)
def test_rows_of_any_shape_lie_in_lines_of_their_own(device: str, shape: Any, dtype: Any, stride_bytes: int) -> None:
    table = np.random.default_rng(2).integers(0, 100, (50, *shape)).astype(dtype)
    slab = DeviceSlab(50, torch.from_numpy(table)[0], 20 * stride_bytes, device)

    run(table, slab, requests(2, 50, 10), 2)

    assert slab.statistics().capacity == 20
    assert LINE_BYTES % stride_bytes == 0 or stride_bytes % LINE_BYTES == 0


def test_a_slab_for_all_rows_sends_each_once() -> None:
    table = np.arange(100, dtype=np.float32).reshape(100, 1)
    trace = requests(3, 100, 20)
    slab = DeviceSlab(100, torch.from_numpy(table)[0], 1 << 20, "cpu")

    run(table, slab, trace, 1)

    assert slab.statistics().misses == len(np.unique(np.concatenate(trace)))


def test_scores_keep_popular_rows_that_nobody_announced() -> None:
    table = np.arange(100, dtype=np.float32).reshape(100, 1)
    trace = requests(4, 100, 40)
    counts = np.bincount(np.concatenate(trace), minlength=100)
    slabs = [DeviceSlab(100, torch.from_numpy(table)[0], 30 * 4, "cpu", scores) for scores in (None, counts)]

    for slab in slabs:
        run(table, slab, trace, 1)

    without, with_scores = (slab.statistics().misses for slab in slabs)
    assert with_scores < without


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("window", [0, 2, 100])
def test_a_loader_yields_all_minibatches_in_order_on_the_device(device: str, window: int) -> None:
    graph = papers(0)
    tables = {"paper/x": torch.randn(100, 8), "author/x": torch.randn(40, 3)}
    batches = SeedBatches(NodeSeeds(np.arange(100), "paper"), 16)
    minibatches = planned(NeighborSampler(graph, [3, 3]), batches, tables)
    loader = DeviceLoader(
        minibatches,
        device,
        {"paper/x": 30 * 32},
        num_rows={"paper/x": 100},
        node_types={"paper/x": "paper"},
        window=window,
    )

    for _ in range(2):
        given = list(loader)
        assert [one.batch for one in given] == [one.batch for one in minibatches]
        for one, original in zip(given, minibatches, strict=True):
            assert one.features["paper/x"].device.type == device
            assert one.layers[0].indices.device.type == device
            assert torch.equal(one.features["paper/x"].cpu(), tables["paper/x"][original.nodes["paper"].astype(int)])
            assert torch.equal(one.features["author/x"].cpu(), tables["author/x"][original.nodes["author"].astype(int)])

    assert loader.statistics()["paper/x"].hits > 0
    assert "author/x" not in loader.statistics()


def test_tables_that_do_not_exist_are_refused() -> None:
    graph = random_graph(0)
    minibatches = planned(
        NeighborSampler(graph, [3]), SeedBatches(NodeSeeds(np.arange(9)), 4), {"x": torch.ones(200, 2)}
    )

    with pytest.raises(InvalidArgument, match="found none for"):
        DeviceLoader(minibatches, "cpu", {"x": 100}, num_rows={})
    with pytest.raises(InvalidArgument, match=r"expected tables among \['x'\], found 'y'"):
        list(DeviceLoader(minibatches, "cpu", {"y": 100}, num_rows={"y": 200}))
    with pytest.raises(InvalidArgument, match="window"):
        DeviceLoader(minibatches, "cpu", {"x": 100}, num_rows={"x": 200}, window=-1)
