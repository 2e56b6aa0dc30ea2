"""Graphs that DGL and PyG hold keep their edges, ids, weights and times when they become sources."""

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.adapters.sources import TensorGraph, TensorRows, dgl_source, pyg_source
from outcrop.types import NODE, NODE_TO_NODE, EdgeType

WRITES: EdgeType = ("author", "writes", "paper")
CITES: EdgeType = ("paper", "cites", "paper")


def edge_rows(source: TensorGraph, edge_type: EdgeType) -> list[tuple[int, int, int, float | None, int | None]]:
    """Every edge as (id, source, destination, weight, time), by id, whatever form the source has."""
    edges = source.edges[edge_type]
    if edges.form == "coo":
        rows = [
            row
            for b in edges.batches()
            for row in zip(b.edge_id, b.src, b.dst, *(_column(c, len(b.src)) for c in (b.weight, b.time)), strict=True)
        ]
    else:
        csc = edges.csc()
        dst = np.repeat(np.arange(len(csc.indptr) - 1), np.diff(csc.indptr))
        ids = np.arange(len(dst)) if csc.edge_ids is None else csc.edge_ids
        columns = (_column(c, len(dst)) for c in (csc.weights, csc.times))
        rows = list(zip(ids, csc.indices, dst, *columns, strict=True))
    return sorted((int(i), int(s), int(d), w, t) for i, s, d, w, t in rows)


def _column(values: Any, length: int) -> list[Any]:
    return [None] * length if values is None else np.asarray(values).tolist()


@pytest.mark.parametrize("with_csc", [False, True])
def test_a_dgl_graph_keeps_its_edge_ids_and_columns(with_csc: bool) -> None:
    dgl = pytest.importorskip("dgl")
    graph = dgl.graph((torch.tensor([2, 0, 1, 0]), torch.tensor([1, 1, 0, 2])), num_nodes=4)
    graph.edata["w"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    graph.edata["t"] = torch.tensor([10, 20, 30, 40])
    if with_csc:
        graph.create_formats_()

    source = dgl_source(graph, weight="w", time="t")

    assert source.edges[NODE_TO_NODE].form == ("csc" if with_csc else "coo")
    assert source.node_counts == {NODE: 4}
    assert edge_rows(source, NODE_TO_NODE) == [
        (0, 2, 1, 1.0, 10),
        (1, 0, 1, 2.0, 20),
        (2, 1, 0, 3.0, 30),
        (3, 0, 2, 4.0, 40),
    ]


def test_a_dgl_graph_made_of_csc_arrays_is_not_turned_around() -> None:
    dgl = pytest.importorskip("dgl")
    indptr, indices = torch.tensor([0, 1, 3]), torch.tensor([1, 0, 1])
    graph = dgl.graph(("csc", (indptr, indices, torch.tensor([], dtype=torch.int64))))

    edges = dgl_source(graph).edges[NODE_TO_NODE]

    assert edges.form == "csc"
    arrays = edges.csc()
    assert arrays.edge_ids is None
    assert (arrays.indptr.tolist(), arrays.indices.tolist()) == ([0, 1, 3], [1, 0, 1])
    assert graph.formats()["created"] == ["csc"]


def test_a_dgl_graph_of_several_types_keeps_their_names() -> None:
    dgl = pytest.importorskip("dgl")
    ends = {WRITES: (torch.tensor([0, 1]), torch.tensor([2, 0])), CITES: (torch.tensor([1]), torch.tensor([2]))}

    source = dgl_source(dgl.heterograph(ends))

    assert source.node_counts == {"author": 2, "paper": 3}
    assert edge_rows(source, WRITES) == [(0, 0, 2, None, None), (1, 1, 0, None, None)]
    assert edge_rows(source, CITES) == [(0, 1, 2, None, None)]


def test_pyg_data_keeps_its_edges_weights_and_times() -> None:
    data = Data(edge_index=torch.tensor([[2, 0, 1], [1, 1, 0]]), num_nodes=5)
    data.w, data.t = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10, 20, 30])

    source = pyg_source(data, weight="w", time="t")

    assert source.node_counts == {NODE: 5}
    assert source.node_times is None
    assert edge_rows(source, NODE_TO_NODE) == [(0, 2, 1, 1.0, 10), (1, 0, 1, 2.0, 20), (2, 1, 0, 3.0, 30)]


def test_times_of_pyg_nodes_stay_with_the_nodes() -> None:
    data = Data(x=torch.zeros(3, 2), edge_index=torch.tensor([[0, 1], [1, 2]]), when=torch.tensor([5, 6, 7]))

    source = pyg_source(data, time="when")

    assert source.node_times is not None
    assert source.node_times[NODE].tolist() == [5, 6, 7]
    assert edge_rows(source, NODE_TO_NODE) == [(0, 0, 1, None, None), (1, 1, 2, None, None)]


def test_pyg_hetero_data_keeps_types() -> None:
    data = HeteroData()
    data["author"].num_nodes = 2
    data["paper"].x = torch.zeros(3, 4)
    data["paper"].year = torch.tensor([1, 2, 3])
    data[WRITES].edge_index = torch.tensor([[0, 1], [2, 0]])
    data[CITES].edge_index = torch.tensor([[1], [2]])
    data[CITES].w = torch.tensor([0.5])

    source = pyg_source(data, weight="w", time="year")

    assert source.node_counts == {"author": 2, "paper": 3}
    assert source.node_times is not None
    assert {name: times.tolist() for name, times in source.node_times.items()} == {"paper": [1, 2, 3]}
    assert edge_rows(source, WRITES) == [(0, 0, 2, None, None), (1, 1, 0, None, None)]
    assert edge_rows(source, CITES) == [(0, 1, 2, 0.5, None)]


def test_an_attribute_that_nobody_has_is_refused() -> None:
    data = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)

    with pytest.raises(InvalidArgument, match="weight='w': no edge type has an attribute of that name"):
        pyg_source(data, weight="w")


def test_columns_that_are_no_numbers_per_edge_are_refused() -> None:
    data = Data(edge_index=torch.tensor([[0], [1]]), edge_attr=torch.zeros(1, 3), num_nodes=2)

    with pytest.raises(InvalidArgument, match=r"expected a number per edge \[1\], found \[1, 3\]"):
        pyg_source(data, weight="edge_attr")


def test_pyg_data_without_edge_index_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected an edge_index"):
        pyg_source(Data(num_nodes=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 2)])
def test_rows_of_a_tensor_are_its_rows(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.arange(np.prod(shape)).reshape(shape) % 7).to(dtype)

    rows = TensorRows(tensor)

    assert (rows.num_rows, rows.row_shape, rows.dtype) == (5, shape[1:], tensor.numpy().dtype)
    assert np.array_equal(rows.read(1, 4), tensor[1:4].numpy())


def test_bfloat16_rows_come_as_their_bits() -> None:
    tensor = torch.tensor([[1.0, -2.5], [0.0, 3.0e38]], dtype=torch.bfloat16)

    rows = TensorRows(tensor)

    assert (rows.dtype, rows.logical_dtype) == (np.uint16, "bfloat16")
    assert torch.equal(torch.from_numpy(rows.read(0, 2).view(np.int16)).view(torch.bfloat16), tensor)


def test_a_transposed_tensor_is_read_by_rows() -> None:
    tensor = torch.arange(12).reshape(3, 4).T

    assert np.array_equal(TensorRows(tensor).read(1, 3), tensor[1:3].numpy())


@pytest.mark.parametrize("tensor", [torch.tensor(1.0), torch.eye(2).to_sparse()])
def test_what_has_no_rows_is_refused(tensor: torch.Tensor) -> None:
    with pytest.raises(InvalidArgument, match="rows: expected"):
        TensorRows(tensor)
