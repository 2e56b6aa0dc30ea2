"""Imports are cut at any step by which they change the disk; the same call then makes the whole, from what is left."""

import numpy as np
import pytest
from tests.gnn_loader.edge_oracle import check, expected_csc, random_edges, unsorted_csc

from outcrop.errors import NotFound, StorageFailure
from outcrop.gnn_loader import ArrayRows, FeatureTable, Graph, GraphArrays
from outcrop.gnn_loader.imports.feature_import import import_features
from outcrop.gnn_loader.imports.graph_import import import_graph
from outcrop.store import Accountant, Root, os_calls

TYPES = [("a", "to", "b"), ("b", "to", "a")]


class GraphImport:
    kind = "graphs"

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.edges = random_edges(rng, 300, 200, 5000, ["weight"]), random_edges(rng, 200, 300, 3000)
        sources = self.edges[0], unsorted_csc(self.edges[1], 300, rng)
        self.source = GraphArrays({"a": 300, "b": 200}, dict(zip(TYPES, sources, strict=True)), {"b": np.arange(200)})

    def run(self, writer):
        return import_graph(writer, self.source, 1 << 20, lambda _: None)

    def check(self, lease):
        with Graph.open(lease, Accountant(1 << 24)) as graph:
            for edge_type, edges, num_dst in zip(TYPES, self.edges, (200, 300), strict=True):
                check(graph.csc(edge_type), expected_csc(edges, num_dst))
            assert np.array_equal(graph.node_times("b"), np.arange(200))


class FeatureImport:
    kind = "features"

    def __init__(self, seed):
        self.rows = np.random.default_rng(seed).normal(size=(3000, 333)).astype(np.float32)

    def run(self, writer):
        memory = 9 * 333 * 4 * 100
        return import_features(writer, ArrayRows(self.rows), "float16", memory, lambda _: None, 1 << 20)

    def check(self, lease):
        with FeatureTable.open(lease, Accountant(1 << 24)) as table:
            assert np.array_equal(table.fetch(np.arange(3000)), self.rows.astype(np.float16).astype(np.float32))


def run(work, root, record, refuse_at=None):
    """Import, the disk refusing every step from `refuse_at` on; return how many steps were asked."""
    steps = []

    def intercept(step, path, source):
        steps.append(step)
        if refuse_at is not None and len(steps) > refuse_at:
            raise OSError(28, "No space left on device")

    with os_calls.intercepted(intercept), root.begin_version(record.id, "job") as writer:
        work.run(writer)
    return len(steps)


@pytest.mark.parametrize("make", [GraphImport, FeatureImport])
def test_an_import_refused_at_any_step_goes_on_where_there_is_room_again(tmp_path, no_wait_for_device, make, seed):
    work = make(seed)
    with Root.open(tmp_path / "root") as root:
        num_steps = run(work, root, root.create(work.kind, "whole", {}))
        assert num_steps > 20
        for refuse_at in range(seed % 4, num_steps, 4):  # runs with other seeds cut elsewhere
            record = root.create(work.kind, f"cut-{refuse_at}", {})
            committed = False
            try:
                run(work, root, record, refuse_at)
                committed = True  # what came behind the commit may fail in silence
            except StorageFailure:
                with pytest.raises(NotFound):
                    root.open_version(record.id)
                run(work, root, record)
            work.check(root.open_version(record.id))
            assert committed is False or refuse_at > num_steps - 10
            root.drop(work.kind, record.name)
        root.gc()
        assert list((root.path / "tmp").iterdir()) == []
        assert root.list_jobs() == []
