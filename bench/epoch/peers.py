"""What others do with the same graph, features and memory: DGL in memory, over a memory map, and DiskGNN's way.

A system is prepared once (`prepare`, work that is done before training), opened without rows (`open_graph`) and with
them (`open_rows`); between the two `systems.py` limits the memory. Then `epoch(number)` yields one pair per minibatch:
input nodes, int64, and their features, a float32 tensor; the minibatch's graph is made as well.
DiskGNN's way is written here after its paper (SIGMOD'25, arXiv 2405.05231): one epoch is sampled beforehand, the most
used rows are held in memory throughout, the other rows of each minibatch lie in a file of its own, and three threads
read ahead of the consumer.
"""

from __future__ import annotations

import itertools
import mmap
import os
import queue
import shutil
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import dgl
import numpy as np
import torch
from workload import Minibatch, System, Workload

_BLOCK = 4096
_PARTITIONS = 8  # of the feature file while packing, as in DiskGNN's batched packing
_AHEAD = 2  # what each of its queues holds


class _DglSampler:
    """DGL's own sampling, ids in int64: its int32 path silently shrinks minibatches."""

    def __init__(self, workload: Workload) -> None:
        indptr = torch.from_numpy(np.load(workload.folder / "indptr.npy").astype(np.int64))
        indices = torch.from_numpy(np.load(workload.folder / "indices.npy").astype(np.int64))
        self.graph = dgl.graph(("csc", (indptr, indices, torch.empty(0, dtype=torch.int64))))
        self.seeds = torch.from_numpy(np.load(workload.folder / "train_idx.npy").astype(np.int64))
        self._workload = workload

    def epoch(self, number: int) -> Iterator[Any]:
        torch.manual_seed(number)
        dgl.seed(number)
        sampler = dgl.dataloading.NeighborSampler(list(self._workload.fanouts))
        size = self._workload.batch_size
        return iter(dgl.dataloading.DataLoader(self.graph, self.seeds, sampler, batch_size=size, shuffle=True))


class _Dgl(System):
    """Sampling by DGL's DataLoader, features by indexing one tensor."""

    def open_graph(self) -> None:
        self._sampler = _DglSampler(self.workload)

    def open_rows(self) -> None:
        self._features = torch.from_numpy(self._array())

    @abstractmethod
    def _array(self) -> Any: ...

    def epoch(self, number: int) -> Iterator[Minibatch]:
        for nodes, _, _ in self.batches(number):
            yield nodes, self.rows(nodes)

    @property
    def num_seeds(self) -> int:
        return len(self._sampler.seeds)

    def batches(self, number: int) -> Iterator[Any]:
        """Yield (input nodes, seeds, blocks) of each minibatch."""
        return self._sampler.epoch(number)

    def rows(self, nodes: torch.Tensor) -> torch.Tensor:
        return self._features[nodes]


class DglInMemory(_Dgl):
    """All features in memory."""

    def _array(self) -> Any:
        return np.load(self.workload.folder / "features.npy")


class DglMemoryMapped(_Dgl):
    """Features memory-mapped with MADV_RANDOM: read-ahead would fetch megabytes of pages that nobody wants."""

    def _array(self) -> Any:
        mapped = np.load(self.workload.folder / "features.npy", mmap_mode="c")  # torch wants a writable array
        mapped._mmap.madvise(mmap.MADV_RANDOM)
        return mapped


class DiskGnnWay(System):
    """A static cache, one packed file of rows per minibatch, the same sampled epoch every time."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self._folder = workload.scratch / "diskgnn"
        self._features = np.load(workload.folder / "features.npy", mmap_mode="r")

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._num_batches = self._sample()
        self._pack()

    def open_rows(self) -> None:
        hot_in_order = np.sort(self._hot)
        place = np.empty(len(self._features), np.int64)
        place[self._hot] = np.arange(len(self._hot))
        self._cache = torch.empty(len(self._hot), self._features.shape[1])
        for part in np.array_split(hot_in_order, 64):
            self._cache[torch.from_numpy(place[part])] = torch.from_numpy(self._features[part])

    def close(self) -> None:
        shutil.rmtree(self._folder)

    def epoch(self, number: int) -> Iterator[Minibatch]:
        order = torch.randperm(self._num_batches, generator=torch.Generator().manual_seed(number)).tolist()
        steps = [self._load_graph, self._load_places, self._load_rows]
        queues = [self._ahead(step, order) for step in steps]
        for _ in order:
            nodes, _blocks = queues[0].get()
            cold_rows, hot_rows, hot_places = queues[1].get()
            rows = queues[2].get()
            features = torch.empty(len(nodes), self._features.shape[1])
            features[hot_rows] = self._cache[hot_places]
            features[cold_rows] = rows
            yield nodes, features

    def _sample(self) -> int:
        batch = 0
        for nodes, _, blocks in _DglSampler(self.workload).epoch(0):
            torch.save((nodes, blocks), self._folder / f"graph-{batch}.pt")
            batch += 1
        return batch

    def _pack(self) -> None:
        num_rows = len(self._features)
        uses = np.zeros(num_rows, np.int32)
        for batch in range(self._num_batches):
            uses[self._load_graph(batch)[0].numpy()] += 1
        hot = np.argsort(-uses, kind="stable")[: self.workload.cache_rows]
        place = np.full(num_rows, -1, np.int64)
        place[hot] = np.arange(len(hot))
        cold = []
        for batch in range(self._num_batches):
            nodes = self._load_graph(batch)[0].numpy()
            is_cold = place[nodes] < 0
            cold_rows, hot_rows = np.flatnonzero(is_cold), np.flatnonzero(~is_cold)
            cold_rows = cold_rows[np.argsort(nodes[cold_rows], kind="stable")]  # packed in the order of the file
            cold.append(nodes[cold_rows])
            places = (torch.from_numpy(cold_rows), torch.from_numpy(hot_rows), torch.from_numpy(place[nodes[hot_rows]]))
            torch.save(places, self._folder / f"places-{batch}.pt")
        self._num_cold = [len(rows) for rows in cold]
        self._distribute(cold)
        self._hot = hot

    def _distribute(self, cold: list[np.ndarray[Any, Any]]) -> None:
        for batch in range(self._num_batches):
            (self._folder / f"rows-{batch}.bin").write_bytes(b"")
        bounds = np.linspace(0, len(self._features), _PARTITIONS + 1).astype(np.int64)
        for begin, end in itertools.pairwise(bounds):
            part = np.array(self._features[begin:end])
            for batch, wanted in enumerate(cold):
                first, last = np.searchsorted(wanted, [begin, end])
                with (self._folder / f"rows-{batch}.bin").open("ab") as file:
                    part[wanted[first:last] - begin].tofile(file)
        for batch in range(self._num_batches):
            path = self._folder / f"rows-{batch}.bin"
            with path.open("r+b") as file:
                file.truncate(-(-path.stat().st_size // _BLOCK) * _BLOCK)  # O_DIRECT reads whole blocks
                os.fsync(file.fileno())

    def _ahead(self, step: Callable[[int], Any], order: list[int]) -> queue.Queue[Any]:
        waiting: queue.Queue[Any] = queue.Queue(_AHEAD)

        def work() -> None:
            for batch in order:
                waiting.put(step(batch))

        threading.Thread(target=work, daemon=True).start()
        return waiting

    def _load_graph(self, batch: int) -> Any:
        return torch.load(self._folder / f"graph-{batch}.pt", weights_only=False)

    def _load_places(self, batch: int) -> Any:
        return torch.load(self._folder / f"places-{batch}.pt")

    def _load_rows(self, batch: int) -> torch.Tensor:
        path = self._folder / f"rows-{batch}.bin"
        size = path.stat().st_size
        buffer = mmap.mmap(-1, max(size, _BLOCK))  # aligned, as O_DIRECT wants it
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            done = 0
            while done < size:
                done += os.readv(file, [memoryview(buffer)[done:size]])
        finally:
            os.close(file)
        num_rows, dim = self._num_cold[batch], self._features.shape[1]
        return torch.from_numpy(np.frombuffer(buffer, np.float32, num_rows * dim).reshape(num_rows, dim))


SYSTEMS: dict[str, type[System]] = {
    "DGL in memory": DglInMemory,
    "DGL memory-mapped": DglMemoryMapped,
    "DiskGNN's way": DiskGnnWay,
}
