"""Building and verifying through a server: upload, build, watch, search."""

import json

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.server.test_uploads import chunks_of
from tests.serving import serving

import outcrop
from outcrop.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted
from outcrop.proto.documents import from_document
from outcrop.proto.methods import method_of
from outcrop.proto.tensors import from_ids, to_tensor
from outcrop.types import Manifest, VerifyReport
from outcrop.v1 import collection_pb2, index_pb2, job_pb2, upload_pb2, vector_pb2

UPLOAD = method_of(upload_pb2.UploadRequest)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(4).normal(size=(3000, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served") / "root", threads=1, reader="pread", memory="64MiB") as server:
        yield server


@pytest.fixture
def rpc(server):
    """A server without collections."""
    with Rpc(server.address) as rpc:
        yield rpc
        for found in rpc.call(collection_pb2.ListCollectionsRequest()).collections:
            rpc.call(collection_pb2.DeleteCollectionRequest(name=found.name))


def make(rpc, name="c", id_type="int64"):
    spec = collection_pb2.CollectionSpec(dim=16, metric="l2", dtype="float32", id_type=id_type)
    rpc.call(collection_pb2.CreateCollectionRequest(name=name, spec=spec))


def upload(rpc, upload_id, **arrays):
    rpc.collect(UPLOAD, (one for name, array in arrays.items() for one in chunks_of(name, array, [1 << 20], upload_id)))


def ended(rpc, job):
    *_, last = rpc.stream(job_pb2.WatchJobRequest(job_id=job.id), timeout=120)
    assert last.job.state == job_pb2.JOB_STATE_SUCCEEDED, last.job.error
    return last.job


def nearest(rpc, queries, k):
    found = rpc.call(vector_pb2.SearchRequest(collection="c", queries=to_tensor(queries), k=k))
    return from_ids(found.ids, (len(queries), k))


def test_an_uploaded_collection_is_built_searched_and_verified(server, rpc, rows):
    make(rpc)
    upload(rpc, "u", vectors=rows, ids=np.arange(3000) + 7000)
    job = rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u", memory_bytes=64 << 20)).job
    manifest = from_document(ended(rpc, job).result, Manifest)
    assert (manifest.version, manifest.properties["num_rows"]) == (1, 3000)
    assert np.array_equal(nearest(rpc, rows[:20], 1)[:, 0], np.arange(20) + 7000)
    with pytest.raises(NotFound):
        rpc.call(upload_pb2.GetUploadRequest(upload_id="u"))
    assert list((server.path / "service/uploads").iterdir()) == []
    report = from_document(ended(rpc, rpc.call(index_pb2.VerifyIndexRequest(collection="c")).job).result, VerifyReport)
    assert (report.num_rows, report.reachability_checked, report.problems) == (3000, True, ())


def test_ids_may_be_texts(rpc, rows):
    make(rpc, id_type="string")
    texts = [f"vector {n}" for n in range(3000)]
    ends = np.cumsum([0, *map(len, texts)])
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    upload(rpc, "u", vectors=rows, id_offsets=ends, id_bytes=data)
    ended(rpc, rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u")).job)
    assert nearest(rpc, rows[:3], 1)[:, 0].tolist() == texts[:3]


def test_what_is_wrong_is_told_before_any_work(rpc, rows):
    make(rpc)
    upload(rpc, "u", vectors=rows[:, :8].copy())
    ask = index_pb2.BuildIndexRequest
    for request, error, told in [
        (ask(collection="d", upload_id="u"), NotFound, "d"),
        (ask(collection="c", upload_id="v"), NotFound, "no upload 'v'"),
        (ask(collection="c", upload_id="u"), InvalidArgument, "expected dimension 16, found 8"),
        (ask(collection="c", upload_id="u", memory_bytes=1 << 40), ResourceExhausted, "for a job, found"),
        (ask(collection="c", upload_id="u", memory_bytes=1 << 20), ResourceExhausted, "a build needs at least"),
        (ask(collection="c", upload_id="u", copy_rule="zip"), InvalidArgument, "copy_rule"),
        (ask(collection="c", upload_id="u", job_id="../x"), InvalidArgument, "job_id"),
        (index_pb2.VerifyIndexRequest(collection="d"), NotFound, "d"),
    ]:
        with pytest.raises(error, match=told):
            rpc.call(request)
    assert not rpc.call(job_pb2.ListJobsRequest()).jobs
    rpc.call(upload_pb2.DeleteUploadRequest(upload_id="u"))


def test_a_repeated_request_is_the_same_job_even_when_its_upload_is_gone(rpc, rows):
    make(rpc)
    upload(rpc, "u", vectors=rows)
    request = index_pb2.BuildIndexRequest(collection="c", upload_id="u", job_id="mine")
    ended(rpc, rpc.call(request).job)
    assert rpc.call(request).job.state == job_pb2.JOB_STATE_SUCCEEDED
    with pytest.raises(AlreadyExists):
        rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u", job_id="mine", seed=1))


def test_a_build_that_was_killed_goes_on_when_the_server_is_back(tmp_path, rows):
    settings = {"threads": 1, "reader": "pread", "memory": "64MiB"}
    with serving(tmp_path / "root", **settings) as server:
        with Rpc(server.address) as rpc:
            make(rpc)
            upload(rpc, "u", vectors=rows)
            job = rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u")).job
        server.kill()
    with serving(tmp_path / "root", **settings) as server, Rpc(server.address) as rpc:
        assert json.loads(ended(rpc, job).result.json)["version"] >= 1
        assert np.array_equal(nearest(rpc, rows[:20], 1)[:, 0], np.arange(20))
        assert server.stop() == 0
    with outcrop.connect(tmp_path / "root") as database:
        assert database.collection("c").count() == 3000
