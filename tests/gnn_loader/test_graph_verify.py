"""A graph whose checksums are right is still asked whether it is a graph."""

from typing import Any

import numpy as np
import pytest

from outcrop.gnn_loader import graph_verify
from outcrop.types import NODE_TO_NODE, CscArrays


class Held:
    """What `graph_problems` asks of a graph, over arrays."""

    edge_types = (NODE_TO_NODE,)

    def __init__(self, num_nodes: int, arrays: CscArrays) -> None:
        self._num_nodes, self._arrays = num_nodes, arrays

    def csc(self, _: Any) -> CscArrays:
        return self._arrays

    def num_nodes(self, _: str) -> int:
        return self._num_nodes

    def num_edges(self, _: Any) -> int:
        return len(self._arrays.indices)


def random_graph(seed: int, times: bool) -> tuple[int, dict[str, Any]]:
    random = np.random.default_rng(seed)
    num_nodes = int(random.integers(2, 40))
    degrees = random.integers(0, 9, num_nodes)
    columns = np.repeat(np.arange(num_nodes), degrees)
    indices = random.integers(0, num_nodes, len(columns)).astype(np.uint32)
    stamps = random.integers(0, 4, len(columns)) if times else np.zeros(len(columns), np.int64)
    order = np.lexsort((indices, stamps, columns))
    weights = random.random(len(columns), dtype=np.float32)
    return num_nodes, {
        "indptr": np.concatenate([[0], np.cumsum(degrees)]),
        "indices": indices[order],
        "weights": weights,
        "times": stamps[order] if times else None,
        "edge_ids": None,
    }


def problems(num_nodes: int, arrays: dict[str, Any]) -> list[str]:
    graph: Any = Held(num_nodes, CscArrays(**arrays))
    return list(graph_verify.graph_problems(graph))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_verify, "_EDGES", 7)
    monkeypatch.setattr(graph_verify, "_NODES", 5)


@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_good_graph_has_no_problems(seed: int, times: bool) -> None:
    assert problems(*random_graph(seed, times)) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_two_unequal_sources_of_a_node_swapped_are_out_of_order(seed: int) -> None:
    num_nodes, arrays = random_graph(seed, False)
    columns = np.repeat(np.arange(num_nodes), np.diff(arrays["indptr"]))
    ascents = np.flatnonzero((columns[1:] == columns[:-1]) & (arrays["indices"][1:] > arrays["indices"][:-1]))
    for place in ascents.tolist():
        damaged = arrays["indices"].copy()
        damaged[[place, place + 1]] = damaged[[place + 1, place]]

        (problem,) = problems(num_nodes, {**arrays, "indices": damaged})

        assert problem.startswith("node:to:node: edge ")
        assert "out of order" in problem


@pytest.mark.parametrize("seed", range(10))
def test_a_later_time_in_front_of_an_earlier_one_is_out_of_order(seed: int) -> None:
    num_nodes, arrays = random_graph(seed, True)
    columns = np.repeat(np.arange(num_nodes), np.diff(arrays["indptr"]))
    (place, *_) = np.flatnonzero(columns[1:] == columns[:-1]).tolist()
    times = arrays["times"].copy()
    times[place] = times[place + 1] + 1

    assert any("out of order" in problem for problem in problems(num_nodes, {**arrays, "times": times}))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1])
def test_bad_weights_sources_and_offsets_are_named(weight: float) -> None:
    num_nodes, arrays = random_graph(3, False)
    place = len(arrays["indices"]) - 1
    weights, indices, indptr = (arrays[name].copy() for name in ("weights", "indices", "indptr"))
    weights[9] = weight
    indices[place] = num_nodes
    indptr[4] = indptr[5] + 1

    assert f"edge 9: weight {np.float32(weight)}" in problems(num_nodes, {**arrays, "weights": weights})[0]
    assert f"edge {place}: source {num_nodes}, expected 0" in problems(num_nodes, {**arrays, "indices": indices})[0]
    (problem,) = problems(num_nodes, {**arrays, "indptr": indptr})
    assert problem == f"node:to:node: offset {indptr[5]} of node 5 lies below {indptr[4]}"


def test_a_graph_without_edges_or_nodes_is_fine() -> None:
    empty = np.empty(0, np.uint32)
    for num_nodes in (0, 3):
        assert problems(num_nodes, dict(random_graph(0, False)[1], indptr=np.zeros(num_nodes + 1, np.int64),
                                        indices=empty, weights=None)) == []  # fmt: skip
