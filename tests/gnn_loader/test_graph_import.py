"""Graphs from edges in any order and form, against NumPy."""

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gnn_loader.edge_oracle import EXTRAS, check, expected_csc, random_edges, unsorted_csc

from outcrop.errors import Cancelled, InvalidArgument, NotFound
from outcrop.gnn_loader import ArrayEdges, CscEdgeArrays, Graph, GraphArrays, homogeneous
from outcrop.gnn_loader.imports.edge_columns import EdgeShape
from outcrop.gnn_loader.imports.edge_sort import EdgeSort
from outcrop.gnn_loader.imports.graph_import import import_graph
from outcrop.store import Accountant, Root
from outcrop.types import NODE_TO_NODE, CscArrays, EdgeBatch


@pytest.mark.parametrize("extras", [(), ("weight",), ("time",), ("edge_id",), ("weight", "time", "edge_id")])
@pytest.mark.parametrize("memory", ["1MiB", "64MiB"])
@pytest.mark.parametrize("form", ["coo", "csc", "sorted"])
def test_edges_of_any_form_become_the_same_graph(database, extras, memory, form, seed):
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, 3000, 3000, 40_000, extras)
    expected = expected_csc(edges, 3000)
    forms = {"coo": edges, "csc": unsorted_csc(edges, 3000, rng), "sorted": CscEdgeArrays(expected)}

    database.import_graph("g", homogeneous(forms[form], 3000), memory=memory).wait()

    with database.graph("g") as graph:
        found = graph.csc(NODE_TO_NODE)
        check(found, expected)
        assert [a.dtype for a in found if a is not None][:2] == [np.int64, np.uint32]
        if form == "coo" and "edge_id" in extras and "time" not in extras:
            assert np.array_equal(found.edge_ids, expected.edge_ids), "equal edges keep the order in which they came"


@st.composite
def any_edges(draw):
    num_src, num_dst = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    extras = draw(st.lists(st.sampled_from(sorted(EXTRAS)), unique=True))
    pair = st.tuples(st.integers(0, num_src - 1), st.integers(0, num_dst - 1), st.integers(-(2**63), 2**63 - 1))
    found = draw(st.lists(pair, max_size=60))
    src, dst, number = (np.array([edge[i] for edge in found], np.int64) for i in range(3))
    made = {"weight": (number % 7).astype(np.float32), "time": number, "edge_id": np.arange(len(found))}
    return num_src, num_dst, ArrayEdges(src, dst, **{name: made[name] for name in extras})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_edges(), st.integers(1, 4))
def test_the_sort_divides_partitions_until_they_fit(tmp_path_factory, no_wait_for_device, given_edges, most):
    num_src, num_dst, edges = given_edges
    extras = tuple(name for name in EXTRAS if getattr(edges, name) is not None)
    shape = EdgeShape(("a", "to", "b"), num_src, num_dst, extras)
    memory_bytes = 2 * most * (2 * shape.record_bytes + 24)  # so many edges are sorted at once
    sort = EdgeSort(tmp_path_factory.mktemp("runs"), shape, None, memory_bytes)

    sort.fill(edges, lambda _: None)
    batches = [batch.columns() for batch in sort.batches()]

    keys = (edges.src, edges.dst) if edges.time is None else (edges.src, edges.time, edges.dst)
    order = np.lexsort(keys)
    names = ["src", "dst", *extras]
    for number, name in enumerate(names):
        found = np.concatenate([batch[number] for batch in batches]) if batches else np.empty(0)
        assert found.tolist() == getattr(edges, name)[order].tolist(), name


def test_arrays_are_taken_as_they_are(database, tmp_path):
    edge_index = np.array([[2, 0, 1, 0], [1, 1, 0, 3]])
    indptr, indices = np.array([0, 1, 3, 3, 4]), np.array([1, 0, 2, 0], np.int32)
    np.save(tmp_path / "indices.npy", indices)
    mapped = np.load(tmp_path / "indices.npy", mmap_mode="r")

    for source in (edge_index, edge_index.tolist(), edge_index.astype(np.uint32), (indptr, indices), (indptr, mapped)):
        database.import_graph("g", source).wait()
        with database.graph("g") as graph:
            assert graph.node_types == {"node": 4}
            assert graph.csc(NODE_TO_NODE).indptr.tolist() == indptr.tolist()
            assert graph.csc(NODE_TO_NODE).indices.tolist() == indices.tolist()
    database.import_graph("g", edge_index, num_nodes=9).wait()
    with database.graph("g") as graph:
        assert graph.num_nodes("node") == 9


def test_a_graph_may_have_no_edges_and_no_nodes(database):
    for num_nodes in (0, 5):
        database.import_graph("g", np.empty((2, 0), np.int64), num_nodes=num_nodes).wait()
        for placement in ("memory", "map"):
            with database.graph("g", placement=placement) as graph:
                assert graph.csc(NODE_TO_NODE).indptr.tolist() == [0] * (num_nodes + 1)
                assert graph.statistics().edges[NODE_TO_NODE].num_edges == 0


NONE, ZERO = np.empty(0, np.int64), np.zeros(1, np.int64)


def edges_with(src=(0, 1), dst=(1, 0), **columns):
    return homogeneous(ArrayEdges(np.array(src), np.array(dst), **{k: np.array(v) for k, v in columns.items()}), 2)


def csc_with(indptr, indices=(1, 0), **columns):
    arrays = CscArrays(np.array(indptr), np.array(indices), **{k: np.array(v) for k, v in columns.items()})
    return homogeneous(CscEdgeArrays(arrays), 2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: edges_with(src=[0, 2]), r"edges \('node', 'to', 'node'\): edge 1: source 2, expected 0 to 1"),
        (lambda: edges_with(dst=[-1, 0]), "edge 0: destination -1, expected 0 to 1"),
        (lambda: edges_with(src=[0.0, 1.0]), "edges: src: expected integers, found float64"),
        (lambda: edges_with(weight=[1, np.nan]), "edge 1: weight nan, expected a finite number, at least 0"),
        (lambda: edges_with(weight=[-1, 0]), "edge 0: weight -1"),
        (lambda: csc_with([0, 1, 2], weights=[0, np.inf]), "edge 1: weight inf"),
        (lambda: csc_with([0, 1, 2], indices=[0, 2]), "edge 1: source 2, expected 0 to 1"),
        (lambda: csc_with([0, 2, 1]), "indptr: place 2: 1 after 2"),
        (lambda: csc_with([1, 1, 2]), "indptr: place 0: expected 0, found 1"),
        (lambda: csc_with([0, 1, 3]), "indptr: place 2: 3, and there are 2 edges"),
        (lambda: csc_with([0, 1, 1]), "indptr: its last place is 1, and there are 2 edges"),
        (lambda: csc_with([0, 1]), "indptr: expected 3 places, found 2"),
        (lambda: csc_with([0.0, 1.0, 2.0]), "indptr: expected integers, found float64"),
        (lambda: csc_with([0, 1, 2], times=[1]), "time: expected 2 values, found 1"),
        (lambda: GraphArrays({"a": 1}, {("a", "to", "b"): ArrayEdges(NONE, NONE)}), "found 'b'"),
        (lambda: GraphArrays({"a": 1 << 32}, {}), "node type 'a': expected 0 to 4294967294 nodes, found 4294967296"),
        (lambda: GraphArrays({"a": 2}, {}, {"a": np.zeros(3, int)}), r"times 'a': expected shape \[2\], found \[3\]"),
        (lambda: GraphArrays({"a": 2}, {}, {"b": np.zeros(2, int)}), r"node times 'b': expected shape \[None\]"),
        (lambda: GraphArrays({"a": 2}, {}, {"a": np.zeros(2)}), "node times 'a': expected integers, found float64"),
        (lambda: GraphArrays({"a": 0}, {("a", "to", "a"): ArrayEdges(ZERO, ZERO)}), "has no nodes"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_refused_by_edge_and_leaves_nothing(database, source, message):
    with pytest.raises(InvalidArgument, match=message):
        database.import_graph("g", source()).wait()
    with pytest.raises(NotFound):
        database.graph("g")
    assert database.connection.root.list_jobs() == []


@pytest.mark.parametrize("source", [np.zeros((3, 4), int), np.zeros(4, int), 7])
def test_arrays_of_other_shapes_are_refused_at_once(database, source):
    with pytest.raises(InvalidArgument, match="graph: expected a graph source, a pair"):
        database.import_graph("g", source)


def test_columns_of_other_lengths_are_refused_at_once():
    with pytest.raises(InvalidArgument, match=r"edges: weight: expected shape \[2\], found \[3\]"):
        edges_with(weight=[1, 2, 3])


class Batches:
    """Edges that come in the batches given."""

    form = "coo"
    num_edges = None

    def __init__(self, *batches):
        self.given = batches

    def batches(self):
        yield from self.given

    def identity(self):
        return "the same"


def test_batches_must_agree_on_their_columns(database):
    ends = np.array([0, 1]), np.array([1, 1])
    for second, message in [
        (EdgeBatch(*ends, time=np.array([1, 2])), r"from edge 2 on: columns \['time'\], those before had \[\]"),
        (EdgeBatch(ends[0], ends[1][:1]), "from edge 2 on: dst: expected 2 integers that fit int64, found int64"),
        (EdgeBatch(ends[0] * 1.0, ends[1]), "from edge 2 on: src: expected 2 integers that fit int64, found float64"),
        (EdgeBatch(ends[0], np.array([1, 1, 1])), r"dst: expected 2 integers that fit int64, found int64 \[3\]"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            database.import_graph("g", homogeneous(Batches(EdgeBatch(*ends), second), 2)).wait()


# Resuming


class Counted:
    """Edges that count how many batches were asked, and stop at one of them."""

    form = "coo"

    def __init__(self, edges, stop_at=None):
        self.edges, self.stop_at, self.asked = edges, stop_at, 0

    @property
    def num_edges(self):
        return self.edges.num_edges

    def batches(self):
        for start in range(0, self.edges.num_edges, 1000):
            if self.stop_at is not None and start >= self.stop_at:
                raise Cancelled("stopped by the test")
            self.asked += 1
            part = slice(start, start + 1000)
            yield EdgeBatch(self.edges.src[part], self.edges.dst[part], self.edges.weight[part])


@pytest.mark.parametrize("stop_at", [0, 1000, 60_000, 99_000])
def test_a_stopped_import_goes_on(tmp_path, stop_at, seed):
    rng = np.random.default_rng(seed)
    first = random_edges(rng, 500, 700, 5000, ["weight"])
    second = random_edges(rng, 700, 500, 100_000, ["weight"])
    types = ("a", "to", "b"), ("b", "to", "a")

    def run(*sources):
        graph = GraphArrays({"a": 500, "b": 700}, dict(zip(types, sources, strict=True)))
        with root.begin_version(record.id, "job") as writer:
            return import_graph(writer, graph, 1 << 20, lambda _: None)

    with Root.open(tmp_path / "root") as root:
        record = root.create("graphs", "g", {})
        with pytest.raises(Cancelled):
            run(Counted(first), Counted(second, stop_at))
        root.gc()
        again = Counted(first)
        run(again, Counted(second))
        assert again.asked == 0, "an edge type that was finished is not read again"
        with Graph.open(root.open_version(record.id), Accountant(1 << 24)) as graph:
            check(graph.csc(types[0]), expected_csc(first, 700))
            check(graph.csc(types[1]), expected_csc(second, 500))


def test_a_cancelled_import_leaves_the_old_version(database):
    database.import_graph("g", np.array([[0, 1], [1, 0]])).wait()
    edges = Counted(random_edges(np.random.default_rng(1), 9, 9, 5000, ["weight"]))
    job = database.import_graph("g", homogeneous(edges, 9))
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()
    with database.graph("g") as graph:
        assert (graph.manifest.version, graph.num_edges()) == (1, 2)


def test_ids_that_do_not_fit_the_disk_are_refused(database):
    ends = np.array([0, 1]), np.array([1, 0])
    batch = EdgeBatch(*ends, edge_id=np.array([1, 1 << 63], np.uint64))
    with pytest.raises(InvalidArgument, match="edge_id: expected 2 integers that fit int64, found uint64"):
        database.import_graph("g", homogeneous(Batches(batch), 2)).wait()


@pytest.mark.parametrize("form", ["coo", "csc"])
def test_progress_goes_forward_to_the_end(tmp_path, form, seed):
    rng = np.random.default_rng(seed)
    edges = random_edges(rng, 400, 400, 200_000)
    source = edges if form == "coo" else unsorted_csc(edges, 400, rng)
    seen = []
    with Root.open(tmp_path / "root") as root:
        record = root.create("graphs", "g", {})
        with root.begin_version(record.id) as writer:
            import_graph(writer, homogeneous(source, 400), 1 << 20, lambda found: seen.append(found))
    fractions = [found.fraction for found in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(set(fractions)) > 10
    assert max(np.diff(fractions)) < 0.35
    stages = list(dict.fromkeys(found.stage for found in seen))
    expected = ["distribute edges", "sort edges"] if form == "coo" else ["edges"]
    assert stages == [*(f"{stage} node-to-node" for stage in expected), "commit"]


def test_too_little_memory_is_refused(database):
    with pytest.raises(InvalidArgument, match="memory: expected at least 1048576 bytes, found 1024"):
        database.import_graph("g", np.array([[0, 1], [1, 0]]), memory=1024).wait()


def test_an_import_that_dies_while_it_tidies_up_goes_on_with_whole_edges(tmp_path, monkeypatch, seed):
    edges = random_edges(np.random.default_rng(seed), 500, 500, 100_000, ["weight"])

    remove = shutil.rmtree

    def tear(folder, **options):
        if folder.name != "edges-0":
            return remove(folder, **options)
        for file in (folder / "runs").glob("00001.*"):
            file.unlink()
        raise Cancelled("killed by the test")

    def run():
        with root.begin_version(record.id, "job") as writer:
            return import_graph(writer, homogeneous(edges, 500), 1 << 20, lambda _: None)

    with Root.open(tmp_path / "root") as root:
        record = root.create("graphs", "g", {})
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", tear)
            with pytest.raises(Cancelled):
                run()
        run()
        with Graph.open(root.open_version(record.id), Accountant(1 << 24)) as graph:
            check(graph.csc(NODE_TO_NODE), expected_csc(edges, 500))
