"""Stored rows and graphs reach the frameworks' loaders, in this process and in workers, bit by bit."""

import os
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.gnn_loader.adapters.graphs import random_graph
from torch_geometric.loader import NeighborLoader

import outcrop
from outcrop.errors import InvalidArgument, NotFound
from outcrop.gnn_loader import Graph, NeighborSampler
from outcrop.gnn_loader.adapters.pyg import CoreSampler, StoredFeatures, StoredGraph
from outcrop.gnn_loader.adapters.rows import fetch_tensor
from outcrop.gnn_loader.adapters.sources import TensorRows, pyg_source
from outcrop.gnn_loader.adapters.stored_table import StoredTable
from outcrop.types import AnyArray, Float32Array


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A root with a graph, a table of float32 rows and one of bfloat16, and what went in."""
    root = tmp_path_factory.mktemp("stored") / "root"
    x = np.random.default_rng(0).normal(size=(200, 37)).astype(np.float32)
    halves = torch.from_numpy(x).to(torch.bfloat16)
    arrays = random_graph(0).csc(("node", "to", "node"))
    with outcrop.connect(root) as database:
        database.import_graph("g", (arrays.indptr, arrays.indices)).wait()
        database.import_features("x", x).wait()
        database.import_features("halves", TensorRows(halves)).wait()
        with database.graph("g") as graph:
            yield SimpleNamespace(root=root, graph=graph, x=x, halves=halves)


def test_a_table_is_the_same_after_pickling(stored: SimpleNamespace) -> None:
    with StoredTable(stored.root, "x") as table, pickle.loads(pickle.dumps(table)) as other:
        assert (other.num_rows, other.row_shape, other.logical_dtype) == (200, (37,), "float32")
        assert np.array_equal(table.fetch([5, 3, 5]), stored.x[[5, 3, 5]])
        assert np.array_equal(other.fetch([7]), stored.x[[7]])


def test_a_closed_table_opens_again(stored: SimpleNamespace) -> None:
    table = StoredTable(stored.root, "x")

    table.close()
    table.close()

    assert np.array_equal(table.fetch([1]), stored.x[[1]])
    table.close()


def test_threads_may_fetch_from_a_table_that_is_closed_still(stored: SimpleNamespace) -> None:
    with StoredTable(stored.root, "x") as table, ThreadPoolExecutor(4) as threads:
        table.close()

        rows = list(threads.map(lambda row: table.fetch([row]), range(50)))

    assert np.array_equal(np.concatenate(rows), stored.x[:50])


def fetch_in_child(table: StoredTable, queue: Any) -> None:
    queue.put((os.getpid(), table.fetch([3, 1]).tobytes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_opens_its_own(stored: SimpleNamespace, method: str) -> None:
    context = get_context(method)
    queue = context.Queue()
    with StoredTable(stored.root, "x") as table:
        table.fetch([0])  # files and rings are open when the child begins
        child = context.Process(target=fetch_in_child, args=(table, queue))
        child.start()
        process, rows = queue.get(timeout=60)
        child.join(timeout=60)

        assert child.exitcode == 0
        assert process != os.getpid()
        assert rows == stored.x[[3, 1]].tobytes()
        assert np.array_equal(table.fetch([9]), stored.x[[9]])


def test_a_table_keeps_its_version_when_another_is_imported(tmp_path: Path) -> None:
    with outcrop.connect(tmp_path) as database:
        database.import_features("x", np.zeros((4, 2), np.float32)).wait()
        with StoredTable(tmp_path, "x") as table, StoredTable(tmp_path, "x") as other:
            database.import_features("x", np.ones((4, 2), np.float32)).wait()

            assert table.fetch([0]).tolist() == [[0, 0]]
            assert other.fetch([0]).tolist() == [[0, 0]]
        with StoredTable(tmp_path, "x") as table:
            assert table.fetch([0]).tolist() == [[1, 1]]


def test_what_is_not_stored_is_named(stored: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing"):
        StoredTable(stored.root, "nothing")
    with pytest.raises(NotFound):
        StoredTable(tmp_path / "nowhere", "x")
    with StoredTable(stored.root, "x") as table, pytest.raises(InvalidArgument):
        table.fetch([200])


def test_bfloat16_rows_are_tensors_of_bfloat16(stored: SimpleNamespace) -> None:
    with StoredTable(stored.root, "halves") as table:
        rows = fetch_tensor(table, torch.tensor([4, 2]))

    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows.view(torch.int16), stored.halves[[4, 2]].view(torch.int16))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pyg_loader_reads_stored_rows(stored: SimpleNamespace, num_workers: int) -> None:
    sampler = CoreSampler(NeighborSampler(stored.graph, [4, 4], expand="newcomers"))
    with StoredTable(stored.root, "x") as table:
        stores = StoredFeatures({"x": table}), StoredGraph(stored.graph)
        loader = NeighborLoader(
            stores, [], torch.arange(100), neighbor_sampler=sampler, batch_size=16, num_workers=num_workers
        )
        for batch in loader:
            assert same_bits(batch.x, stored.x[batch.n_id])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="DGL's wheels end with Python 3.11")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_dgl_loader_reads_stored_rows(stored: SimpleNamespace, num_workers: int) -> None:
    import dgl

    from outcrop.gnn_loader.adapters.dgl import CoreSampler as BlockSampler
    from outcrop.gnn_loader.adapters.dgl import StoredGraph as GraphForDgl

    sampler = BlockSampler(NeighborSampler(stored.graph, [4, 4]), prefetch_node_feats=["x"])
    with StoredTable(stored.root, "x") as table:
        graph = GraphForDgl(stored.graph, {"x": table})
        loader = dgl.dataloading.DataLoader(graph, torch.arange(100), sampler, batch_size=16, num_workers=num_workers)
        for inputs, _, blocks in loader:
            assert same_bits(blocks[0].srcdata["x"], stored.x[inputs])


def same_bits(tensor: torch.Tensor, rows: Float32Array) -> bool:
    return tensor.numpy().tobytes() == rows.tobytes()


def test_a_pyg_graph_comes_back_as_it_went_in(tmp_path: Path) -> None:
    from torch_geometric.data import Data

    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(50, (2, 300), generator=generator)
    data = Data(edge_index=edge_index, num_nodes=50, w=torch.rand(300, generator=generator))

    with outcrop.connect(tmp_path) as database:
        database.import_graph("g", pyg_source(data, weight="w")).wait()
        with database.graph("g") as graph:
            found = edges_by_id(graph)

    wanted = np.stack([*edge_index.numpy().astype(float), data.w.numpy().astype(float)], axis=1)
    assert np.array_equal(found, wanted)


def edges_by_id(graph: Graph) -> AnyArray:
    """Return source, destination and weight of edge i in row i."""
    arrays = graph.csc(("node", "to", "node"))
    assert arrays.edge_ids is not None
    assert arrays.weights is not None
    dst = np.repeat(np.arange(50), np.diff(arrays.indptr))
    rows = np.stack([arrays.indices.astype(float), dst.astype(float), arrays.weights.astype(float)], axis=1)
    return rows[np.argsort(arrays.edge_ids)]
