"""A dataset yields a loader's minibatches as tensors, epoch by epoch, in this process and in workers."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import random_graph
from tests.gnn_loader.adapters.minibatches import planned
from torch.utils.data import DataLoader

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.tensor_minibatch import TensorMinibatch, shared_tensor, tensor_minibatch
from outcrop.gnn_loader.adapters.torch import MinibatchDataset
from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.types import EdgeSeeds, Minibatch, NodeSeeds


class ListLoader:
    """A loader of three epochs of minibatches numbered from 100 * shard."""

    def __init__(self, shard: int = 0) -> None:
        self.shard, self.position = shard, 0

    def __iter__(self) -> Iterator[Minibatch]:
        end = (self.position // 4 + 1) * 4
        while self.position < end:
            self.position += 1
            yield self._minibatch(self.position - 1)

    def state_dict(self) -> dict[str, Any]:
        return {"shard": self.shard, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["shard"] == self.shard
        self.position = state["position"]

    def _minibatch(self, number: int) -> Minibatch:
        graph = random_graph(0, num_nodes=20)
        seeds = SeedBatches(NodeSeeds(np.arange(20)), 5)
        return planned(NeighborSampler(graph, [2]), seeds, {"x": torch.full((20, 2), 100.0 * self.shard + number)})[0]


def numbers(batches: Any) -> list[int]:
    return [int(batch.features["x"][0, 0]) for batch in batches]


@pytest.mark.parametrize("persistent", [False, True])
def test_passes_are_epochs_in_workers(persistent: bool) -> None:
    dataset = MinibatchDataset([ListLoader(0), ListLoader(1)])
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=persistent)

    assert sorted(numbers(loader)) == [0, 1, 2, 3, 100, 101, 102, 103]
    assert sorted(numbers(loader)) == [4, 5, 6, 7, 104, 105, 106, 107]


def test_passes_are_epochs_in_this_process() -> None:
    loader = DataLoader(MinibatchDataset(ListLoader()), batch_size=None)

    assert [numbers(loader) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_dataset_resumes_in_the_middle_of_an_epoch() -> None:
    first = MinibatchDataset(ListLoader())
    assert numbers(first) == [0, 1, 2, 3]
    iterator = iter(first)
    assert numbers([next(iterator), next(iterator)]) == [4, 5]

    second = MinibatchDataset(ListLoader())
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))

    assert numbers(second) == [6, 7]
    assert numbers(second) == [8, 9, 10, 11]


def test_a_dataset_goes_back_to_an_earlier_state() -> None:
    dataset = MinibatchDataset(ListLoader())
    state = dataset.state_dict()
    assert numbers(dataset) == [0, 1, 2, 3]

    dataset.load_state_dict(state)

    assert numbers(dataset) == [0, 1, 2, 3]


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_take_loaders_of_their_own(rank: int) -> None:
    dataset = MinibatchDataset([ListLoader(0), ListLoader(1)], rank=rank, world_size=2)

    assert numbers(dataset) == [100 * rank + number for number in range(4)]


def test_workers_of_ranks_take_loaders_of_their_own() -> None:
    dataset = MinibatchDataset([ListLoader(shard) for shard in range(4)], rank=1, world_size=2)

    found = numbers(DataLoader(dataset, batch_size=None, num_workers=2))

    assert sorted(found) == [200, 201, 202, 203, 300, 301, 302, 303]


def test_too_few_loaders_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected one for each of 2 workers of 1 ranks, found 1"):
        list(DataLoader(MinibatchDataset(ListLoader()), batch_size=None, num_workers=2))
    with pytest.raises(InvalidArgument, match="as many for each of 2 ranks"):
        MinibatchDataset([ListLoader()], rank=0, world_size=2)
    with pytest.raises(InvalidArgument, match="0 <= rank < world_size"):
        MinibatchDataset([ListLoader()], rank=2, world_size=2)


def sampled(**options: Any) -> Minibatch:
    sampler = NeighborSampler(random_graph(1), [3, 2], keep_edges=True, **options)
    return sampler.sample(np.array([5, 1, 5, 9]))


def test_tensors_have_the_minibatchs_values() -> None:
    minibatch = sampled()

    tensors = tensor_minibatch(minibatch)

    assert (tensors.epoch, tensors.batch, tensors.num_hops) == (0, 0, 2)
    assert tensors.seeds.tolist() == [5, 1, 5, 9]
    assert tensors.nodes["node"].tolist() == minibatch.nodes["node"].tolist()
    assert tensors.hop_offsets["node"] == tuple(minibatch.hop_offsets["node"].tolist())
    for layer, original in zip(tensors.layers, minibatch.layers, strict=True):
        assert original.edges is not None
        assert layer.edges is not None
        assert layer.indices.tolist() == original.indices.tolist()
        assert layer.edges.tolist() == original.edges.tolist()
        columns = np.repeat(np.arange(original.dst_begin, original.dst_end), np.diff(original.indptr))
        assert layer.destinations().tolist() == columns.tolist()


def test_tensors_share_memory_and_keep_it_alive() -> None:
    minibatch = sampled()
    indices, original = minibatch.layers[0].indices, minibatch.layers[0].indices.copy()
    assert not indices.flags.writeable

    tensor = tensor_minibatch(minibatch).layers[0].indices
    address = indices.ctypes.data
    del minibatch, indices

    assert tensor.data_ptr() == address
    assert tensor.tolist() == original.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.uint8, np.bool_])
def test_read_only_arrays_of_any_type_are_shared(dtype: Any) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    array.flags.writeable = False

    tensor = shared_tensor(array)

    assert tensor.data_ptr() == array.ctypes.data
    assert np.array_equal(tensor.numpy(), array)


def test_links_have_pairs_of_seeds() -> None:
    sampler = NeighborSampler(random_graph(1), [3])
    links = np.array([[4, 8], [8, 2]])

    tensors = tensor_minibatch(sampler.sample(EdgeSeeds(links, negatives=1)))

    assert tensors.seeds[:2].tolist() == links.tolist()
    assert tensors.labels is not None
    assert tensors.labels.tolist() == [1, 1, 0, 0]


def test_a_clone_has_memory_of_its_own() -> None:
    tensors = tensor_minibatch(sampled(disjoint=True))

    clone = tensors.clone()

    assert clone.layers[0].indices.data_ptr() != tensors.layers[0].indices.data_ptr()
    assert torch.equal(clone.layers[1].indices, tensors.layers[1].indices)
    assert clone.trees is not None
    assert tensors.trees is not None
    assert torch.equal(clone.trees["node"], tensors.trees["node"])


def test_a_minibatch_goes_to_a_device() -> None:
    tensors = tensor_minibatch(sampled())

    moved = tensors.to("meta")

    assert isinstance(moved, TensorMinibatch)
    assert {t.device.type for t in (moved.nodes["node"], moved.seed_rows, moved.layers[0].indices)} == {"meta"}
    assert moved.hop_offsets == tensors.hop_offsets


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_data_loader_pins_minibatches() -> None:
    [batch, *_] = list(DataLoader(MinibatchDataset(ListLoader()), batch_size=None, pin_memory=True))

    assert batch.features["x"].is_pinned()
    assert batch.to("cuda", non_blocking=True).features["x"].device.type == "cuda"
