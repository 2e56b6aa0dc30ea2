"""Several processes on one root: any of them answers, one writes, and none is missed when it dies."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.server.rpc import Rpc
from tests.server.test_index_service import UPLOAD, ended, make, upload
from tests.server.test_uploads import chunk
from tests.serving import Served, serving

from outcrop.errors import AlreadyExists, DeadlineExceeded, NotFound, OutcropError, Unavailable
from outcrop.proto.tensors import from_ids, to_tensor
from outcrop.v1 import admin_pb2, collection_pb2, index_pb2, job_pb2, upload_pb2, vector_pb2

ROWS = np.random.default_rng(7).normal(size=(2000, 16)).astype(np.float32)
SETTINGS = {"threads": 1, "reader": "pread", "memory": "64MiB", "workers": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two readers and a writer, and the collection `c`."""
    with serving(tmp_path_factory.mktemp("several") / "root", **SETTINGS) as server:
        with Rpc(server.address) as rpc:
            make(rpc)
            upload(rpc, "u", vectors=ROWS)
            ended(rpc, rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u")).job)
        yield server


@pytest.fixture
def rpc(server: Served) -> Iterator[Rpc]:
    with Rpc(server.address) as rpc:
        yield rpc


def asked(rpc: Rpc) -> admin_pb2.GetServerInfoResponse:
    found: admin_pb2.GetServerInfoResponse = rpc.call(admin_pb2.GetServerInfoRequest(), timeout=10)
    return found


def children_of(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def readers_of(server: Served) -> set[int]:
    """Those who answer on the port; each connection goes to one of them."""
    found = set()
    for _ in range(24):
        with contextlib.suppress(Unavailable), Rpc(server.address) as rpc:
            found.add(asked(rpc).process)
    return found


def writer_of(server: Served) -> int:
    [writer] = children_of(server.process.pid) - readers_of(server)
    return writer


def search(rpc: Rpc, row: int) -> int:
    request = vector_pb2.SearchRequest(collection="c", queries=to_tensor(ROWS[row : row + 1]), k=1)
    found = rpc.call(request, timeout=30)
    return int(from_ids(found.ids, (1, 1))[0, 0])


class Load:
    """Threads that search all the time; every answer is checked, every refusal kept."""

    def __init__(self, server: Served, threads: int = 4) -> None:
        self.answers, self.refused, self.wrong = Counter[int](), Counter[str](), 0
        self._server, self._ended = server, threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        return sum(self.answers.values())

    def _work(self, number: int) -> None:
        rng = np.random.default_rng(number)
        while not self._ended.is_set():
            with Rpc(self._server.address) as rpc:  # anew, so that each reader has its share
                for row in rng.integers(0, len(ROWS), 10).tolist():
                    try:
                        right = search(rpc, row) == row
                    except OutcropError as error:
                        self.refused[type(error).__name__] += 1
                        time.sleep(0.01)
                        break
                    self.answers[number] += 1
                    self.wrong += not right


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.05)


def test_two_processes_answer_on_one_port_and_a_third_one_writes(server: Served) -> None:
    readers = readers_of(server)

    assert len(readers) == 2
    assert readers < children_of(server.process.pid)
    with Rpc(server.address) as rpc:
        found = asked(rpc)
        assert (found.writer, found.workers) == (False, 2)


def test_what_is_built_through_one_reader_is_found_through_all(server: Served) -> None:
    reached = set()
    while len(reached) < 2:
        with Rpc(server.address) as rpc:
            assert [search(rpc, row) for row in (3, 1999)] == [3, 1999]
            assert rpc.call(vector_pb2.CountRequest(collection="c")).count == 2000
            reached.add(asked(rpc).process)


def test_errors_of_the_writer_come_through(rpc: Rpc) -> None:
    spec = collection_pb2.CollectionSpec(dim=16)
    with pytest.raises(AlreadyExists, match="collection 'c' exists"):
        rpc.call(collection_pb2.CreateCollectionRequest(name="c", spec=spec))
    with pytest.raises(NotFound, match="there is no job 'none'"):
        list(rpc.stream(job_pb2.WatchJobRequest(job_id="none")))


def test_a_deadline_and_a_client_that_leaves_reach_the_writer(rpc: Rpc) -> None:
    """The array of a stream that broke is free again, with what had come."""

    def stalls() -> Iterator[Any]:
        yield chunk("x", b"12345678", upload="stalled")
        time.sleep(2)

    with pytest.raises(DeadlineExceeded):
        rpc.collect(UPLOAD, stalls(), timeout=0.5)
    [array] = rpc.call(upload_pb2.GetUploadRequest(upload_id="stalled")).arrays
    assert array.num_rows == 2
    rpc.collect(UPLOAD, [chunk("x", b"1234", upload="stalled", row=2)])
    rpc.call(upload_pb2.DeleteUploadRequest(upload_id="stalled"))


def test_a_killed_reader_is_missed_by_nobody_for_long(server: Served) -> None:
    before = readers_of(server)
    with Load(server) as load:
        until(lambda: load.count > 50)
        os.kill(min(before), signal.SIGKILL)
        reached = load.count
        until(lambda: load.count > reached + 50)
        until(lambda: len(readers_of(server) - {min(before)}) == 2)

    assert load.wrong == 0
    assert set(load.refused) <= {"Unavailable"}, "a call on the killed process breaks, no other one fails"
    assert sum(load.refused.values()) <= 8, load.refused


def test_a_killed_writer_stops_no_reads_and_its_job_goes_on(server: Served) -> None:
    with Rpc(server.address) as rpc:
        make(rpc, "d")
        upload(rpc, "again", vectors=ROWS)
        request = index_pb2.BuildIndexRequest(collection="d", upload_id="again", job_id="interrupted")
        with Load(server) as load:
            until(lambda: load.count > 20)
            writer = writer_of(server)
            job = rpc.call(request).job
            os.kill(writer, signal.SIGKILL)
            told = []
            while not told or told[-1]:
                time.sleep(0.1)
                try:
                    rpc.call(job_pb2.GetJobRequest(job_id=job.id), timeout=10)
                    told.append("")
                except Unavailable as error:
                    told.append(str(error))
            assert len(told) > 1
            assert all("started again" in text and "unix:" not in text for text in told[:-1])
            ended(rpc, job)
        assert load.wrong == 0
        assert not load.refused
        assert rpc.call(vector_pb2.CountRequest(collection="d")).count == 2000


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_under_way_end_when_the_server_is_told_to_stop(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path / "root", **SETTINGS | {"workers": workers}) as server:
        with Rpc(server.address) as rpc:
            make(rpc)
            upload(rpc, "u", vectors=ROWS)
            ended(rpc, rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u")).job)
        begun, finish = threading.Event(), threading.Event()
        received: list[Any] = []

        def slow() -> Iterator[Any]:
            yield chunk("x", b"1234")
            begun.set()
            finish.wait(20)
            yield chunk("x", b"5678", row=1)

        def uploading() -> None:
            with Rpc(server.address) as rpc:
                received.append(rpc.collect(UPLOAD, slow()))

        uploader = threading.Thread(target=uploading)
        uploader.start()
        assert begun.wait(20)
        with Load(server) as load, Rpc(server.address) as rpc:
            until(lambda: load.count > 50)
            server.process.terminate()
            until(lambda: load.refused)
            with pytest.raises(Unavailable):
                search(rpc, 1)
            assert server.process.poll() is None, "it waits for the upload"
            finish.set()
            uploader.join()
            assert server.process.wait(30) == 0

    assert received[0].arrays[0].num_rows == 2, "an admitted call ends as if nothing were"
    assert load.wrong == 0
    assert set(load.refused) == {"Unavailable"}


def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(tmp_path / "root", **SETTINGS) as server:
        with Rpc(server.address) as rpc:
            make(rpc)
            upload(rpc, "u", vectors=ROWS)
            job = rpc.call(index_pb2.BuildIndexRequest(collection="c", upload_id="u")).job
        workers = children_of(server.process.pid)
        assert len(workers) == 3
        server.kill()
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 30)
    with serving(tmp_path / "root", **SETTINGS, listen=server.address) as again, Rpc(again.address) as rpc:
        ended(rpc, job)
        assert search(rpc, 5) == 5


def test_one_port_shows_the_numbers_of_all_processes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    metrics = {"listen": f"127.0.0.1:{port}"}
    with serving(tmp_path / "root", **SETTINGS, metrics=metrics) as server:
        with Rpc(server.address) as rpc:
            make(rpc)
        for _ in range(10):
            with Rpc(server.address) as rpc:
                rpc.call(collection_pb2.ListCollectionsRequest())
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b"ready\n"
        connection.request("GET", "/metrics")
        numbers = connection.getresponse().read().decode()
        connection.close()
    method = "CollectionService/"
    assert f'outcrop_rpc_calls_total{{code="OK",method="{method}ListCollections"}} 10.0' in numbers
    assert f'outcrop_rpc_calls_total{{code="OK",method="{method}CreateCollection"}} 1.0' in numbers


def test_a_server_that_cannot_start_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/thesis.tex").write_text("mine")
    with pytest.raises(AssertionError, match="ended with 1"), serving(tmp_path / "root", **SETTINGS):
        pass
    assert "InvalidArgument" in capfd.readouterr().err


def test_two_servers_on_one_root_are_refused(server: Served, capfd: pytest.CaptureFixture[str]) -> None:
    for workers in (1, 2):
        with (
            pytest.raises(AssertionError, match="ended with 1"),
            serving(server.path, **SETTINGS | {"workers": workers}),
        ):
            pass
        assert "serves this root" in capfd.readouterr().err


def test_two_servers_on_one_port_are_refused(server: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for workers in (1, 2):
        other = SETTINGS | {"workers": workers, "listen": server.address}
        with pytest.raises(AssertionError, match="ended with 1"), serving(tmp_path / "root", **other):
            pass
        assert "cannot be bound" in capfd.readouterr().err


def test_statistics_are_those_of_a_process(rpc: Rpc) -> None:
    rpc.call(vector_pb2.CountRequest(collection="c"))
    statistics = json.loads(rpc.call(admin_pb2.GetStatisticsRequest()).statistics.json)

    assert statistics["calls"]["VectorService/Count"] >= 1
    assert statistics["num_objects"]["collections"] >= 1
    assert statistics["resident_bytes"] > 1 << 20
