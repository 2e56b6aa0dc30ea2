"""What may be imported, and how an import that is resumed knows its source again."""

import os

import numpy as np
import pytest

from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import (
    ArrayEdges,
    ArrayRows,
    CscEdgeArrays,
    GraphArrays,
    as_graph_source,
    as_row_source,
    homogeneous,
    source_identity,
)
from outcrop.types import NODE_TO_NODE, CscArrays


@pytest.fixture
def saved(tmp_path):
    """An array on disk, and how to map it."""
    path = tmp_path / "x.npy"
    np.save(path, np.arange(24, dtype=np.float32).reshape(6, 4))
    return path, lambda: np.load(path, mmap_mode="r")


def test_an_array_in_memory_is_known_by_all_its_bytes():
    array = np.arange(10_000_000, dtype=np.float32).reshape(-1, 10)
    before = source_identity(ArrayRows(array))

    assert source_identity(ArrayRows(array.copy())) == before
    array[999_999, 9] += 1
    assert source_identity(ArrayRows(array)) != before


def test_identities_tell_shape_type_and_meaning_apart():
    array = np.zeros((4, 6), np.uint16)
    arrays = [array, array.reshape(6, 4), array.astype(np.int16), array[:3], np.zeros((2, 6), np.uint32)]
    found = [source_identity(ArrayRows(each)) for each in arrays]
    found.append(source_identity(ArrayRows(array, "bfloat16")))

    assert len(set(found)) == len(found)


def test_a_memory_map_is_known_by_its_file_and_its_part(saved):
    path, mapped = saved
    whole = source_identity(ArrayRows(mapped()))

    assert source_identity(ArrayRows(mapped())) == whole
    parts = [mapped()[1:], mapped()[:-1], mapped()[::2], mapped()[:, 1:], mapped()[:, :3], mapped()[1:][1:]]
    found = [source_identity(ArrayRows(part)) for part in parts]
    assert len({whole, *found}) == 7
    assert source_identity(ArrayRows(mapped()[2:])) == found[-1]
    os.utime(path, ns=(1, 1))
    assert source_identity(ArrayRows(mapped())) != whole


def test_graphs_are_known_by_their_edges_counts_and_times():
    ends = np.array([0, 1]), np.array([1, 0])
    graphs = [
        homogeneous(ArrayEdges(*ends), 2),
        homogeneous(ArrayEdges(*ends), 3),
        homogeneous(ArrayEdges(ends[1], ends[0]), 2),
        homogeneous(ArrayEdges(*ends, weight=np.ones(2)), 2),
        homogeneous(ArrayEdges(*ends, time=np.ones(2, int)), 2),
        homogeneous(ArrayEdges(*ends), 2, np.array([3, 4])),
        homogeneous(CscEdgeArrays(CscArrays(*ends)), 2),
        GraphArrays({"a": 2}, {("a", "to", "a"): ArrayEdges(*ends)}),
    ]
    found = [source_identity(graph) for graph in graphs]

    assert None not in found
    assert len(set(found)) == len(found)
    assert source_identity(homogeneous(ArrayEdges(*(end.copy() for end in ends)), 2)) == found[0]


def test_a_source_that_does_not_say_what_it_is_has_no_identity():
    class Edges:
        form = "coo"
        num_edges = None

        def batches(self):
            return iter(())

    assert source_identity(Edges()) is None
    assert source_identity(homogeneous(Edges(), 2)) is None


def test_sources_are_passed_on_as_they_are():
    rows, graph = ArrayRows(np.zeros((2, 2))), homogeneous(ArrayEdges(np.zeros(1, int), np.zeros(1, int)), 1)

    assert as_row_source(rows) is rows
    assert as_graph_source(graph) is graph
    with pytest.raises(InvalidArgument, match="num_nodes: 5 was given, and the source says itself"):
        as_graph_source(graph, 5)


def test_vectors_are_rows_of_one_dimension():
    class Vectors:
        num_rows, dim, dtype = 3, 2, np.dtype(np.float16)

        def read(self, start, stop):
            return np.ones((stop - start, 2), np.float16)

    rows = as_row_source(Vectors())

    assert (rows.num_rows, rows.row_shape, rows.dtype) == (3, (2,), np.float16)
    assert rows.read(1, 3).shape == (2, 2)


def test_what_is_no_table_is_refused():
    with pytest.raises(InvalidArgument, match="expected an array with a row for each node, found a single number"):
        as_row_source(7)
    with pytest.raises(InvalidArgument, match="expected an array"):
        as_row_source([[1, 2], [3]])


def test_a_pair_must_have_as_many_places_as_was_said():
    with pytest.raises(InvalidArgument, match="indptr: expected 5 places, found 3"):
        as_graph_source((np.array([0, 1, 2]), np.array([0, 1])), 4)
    assert as_graph_source((np.array([0, 1, 2]), np.array([0, 1])), 2).edges[NODE_TO_NODE].form == "csc"


def test_batches_have_the_types_of_the_protocol():
    edges = ArrayEdges(np.zeros(3, np.uint8), np.zeros(3, np.int32), np.ones(3), np.zeros(3, np.int16))

    (batch,) = edges.batches()

    assert [column.dtype for column in (batch.src, batch.dst, batch.weight, batch.time)] == ["i8", "i8", "f4", "i8"]
    assert batch.edge_id is None
