"""Jobs of a server: accepted once, done in order, resumed by the next process."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from outcrop.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound, StorageFailure, Unavailable
from outcrop.jobs import Job as EngineJob
from outcrop.proto.chunks import Chunk
from outcrop.proto.documents import from_document
from outcrop.proto.methods import method_of
from outcrop.proto.status import Overloaded
from outcrop.server.call import Call
from outcrop.server.identity import ANONYMOUS, Identity
from outcrop.server.jobs import Jobs
from outcrop.server.metrics import ServerMetrics
from outcrop.server.settings import Jobs as Settings
from outcrop.server.uploads import Uploads
from outcrop.stop import Stop
from outcrop.store import os_calls
from outcrop.types import Progress
from outcrop.v1 import index_pb2, job_pb2
from outcrop.v1.index_pb2 import VerifyIndexRequest
from outcrop.v1.tensor_pb2 import DATA_TYPE_FLOAT32
from outcrop.v1.upload_pb2 import UploadRequest

ALICE = Identity("alice", "write", ("collections/a*",))


@dataclass
class Outcome:
    collection: str


class Kind:
    """A kind of jobs whose work is told when to go on: `gate` lets it end."""

    def __init__(self):
        self.gate = threading.Event()
        self.begun: list[str] = []
        self.error: Exception | None = None

    def run(self, request, work):
        self.begun.append(request.collection)
        work.report(Progress("halves", 0.5, None))
        while not self.gate.wait(0.005):
            work.check()
        if self.error is not None:
            raise self.error
        return Outcome(request.collection)


@pytest.fixture
def kind():
    return Kind()


class Server:
    """Jobs of a root, as one process after the other has them."""

    def __init__(self, path, kind, **settings):
        self.settings = Settings(**settings)
        self.uploads = Uploads(path / "uploads", self.settings)
        self.jobs = Jobs(path / "jobs", self.settings, self.uploads)
        self.jobs.register("verify_index", VerifyIndexRequest, kind.run)
        self.jobs.register("build", index_pb2.BuildIndexRequest, kind.run)
        self.executor = ThreadPoolExecutor(4)
        self.meter = ServerMetrics().method("x")

    async def __aenter__(self):
        await self.jobs.start()
        return self

    async def __aexit__(self, *_):
        await self.jobs.stop()
        self.executor.shutdown()

    async def ask(self, name, identity=ANONYMOUS, check=None, job_id=None, upload_id=""):
        request = (
            VerifyIndexRequest(collection=name)
            if job_id is None
            else index_pb2.BuildIndexRequest(collection=name, job_id=job_id, upload_id=upload_id)
        )
        call = Call(method_of(type(request)), "r", identity, Stop(), self.executor, self.meter)
        return await self.jobs.submit(request, call, check)

    async def upload(self, upload_id):
        async def chunks():
            head = UploadRequest(upload_id=upload_id, array="vectors", dtype=DATA_TYPE_FLOAT32)
            yield Chunk(head, memoryview(b"1234"))

        await self.uploads.append(chunks(), ANONYMOUS.name)

    async def ended(self, job_id, identity=ANONYMOUS):
        async for job in self.jobs.watch(job_id, identity):
            last = job
        return last


def states(jobs):
    return [job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower() for job in jobs]


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it has not come to pass")


def test_a_job_is_accepted_done_and_tells_its_result(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            job = await server.ask("a")
            assert job.kind == "verify_index"
            assert [(one.kind, one.name) for one in job.objects] == [("collections", "a")]
            await until(lambda: server.jobs.get(job.id, ANONYMOUS).progress.fraction == 0.5)
            assert states([server.jobs.get(job.id, ANONYMOUS)]) == ["running"]
            kind.gate.set()
            ended = await server.ended(job.id)
            assert states([ended]) == ["succeeded"]
            assert from_document(ended.result, Outcome) == Outcome("a")
            assert ended.progress.fraction == 1
            assert ended.ended.seconds >= ended.created.seconds > 0

    asyncio.run(story())


def test_jobs_wait_for_each_other_in_order(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind, concurrent=2) as server:
            for name in "abcd":
                await server.ask(name)
            await until(lambda: len(kind.begun) == 2)
            assert states(reversed(server.jobs.listed(ANONYMOUS, ended=False))) == ["running"] * 2 + ["waiting"] * 2
            kind.gate.set()
            await until(lambda: not server.jobs.listed(ANONYMOUS, ended=False))
            assert sorted(kind.begun[:2]) == ["a", "b"]
            assert sorted(kind.begun[2:]) == ["c", "d"]

    asyncio.run(story())


def test_too_many_waiting_jobs_are_refused_with_a_hint(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind, waiting=2) as server:
            for name in "abc":
                await server.ask(name)
                await until(lambda: kind.begun)
            with pytest.raises(Overloaded, match="2 jobs wait already") as refused:
                await server.ask("d")
            assert refused.value.retry_seconds > 0
            kind.gate.set()
            await until(lambda: not server.jobs.listed(ANONYMOUS, ended=False))
            await server.ask("d")

    asyncio.run(story())


def test_the_same_id_and_request_is_the_same_job(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            first = await server.ask("a", job_id="mine")
            again = await server.ask("a", job_id="mine", check=lambda: pytest.fail("checked twice"))
            assert first.id == again.id == "mine"
            with pytest.raises(AlreadyExists, match="choose another id"):
                await server.ask("b", job_id="mine")
            with pytest.raises(AlreadyExists):
                await server.ask("a", job_id="mine", identity=ALICE)
            with pytest.raises(InvalidArgument, match="job_id"):
                await server.ask("a", job_id="../a")
            kind.gate.set()
            await server.ended("mine")
            assert states([await server.ask("a", job_id="mine")]) == ["succeeded"]
            assert kind.begun == ["a"]

    asyncio.run(story())


def test_what_a_check_finds_leaves_no_job_behind(tmp_path, kind):
    def refuse():
        raise NotFound("no such collection")

    async def story():
        async with Server(tmp_path, kind) as server:
            with pytest.raises(NotFound, match="no such collection"):
                await server.ask("a", check=refuse, job_id="mine")
            assert server.jobs.listed(ANONYMOUS, ended=True) == []
            assert list((tmp_path / "jobs").iterdir()) == []
            await server.ask("b", job_id="mine")

    asyncio.run(story())


def test_a_job_that_cannot_be_stored_is_not_accepted(tmp_path, kind):
    def full(step, path, source):
        if step == "write" and "jobs" in path.parts:
            raise OSError(28, "No space left on device")

    async def story():
        async with Server(tmp_path, kind) as server:
            with os_calls.intercepted(full), pytest.raises(StorageFailure, match="No space left"):
                await server.ask("a", job_id="mine")
            assert server.jobs.listed(ANONYMOUS, ended=True) == []
            await server.ask("a", job_id="mine")
            assert kind.begun in ([], ["a"])

    asyncio.run(story())


def test_errors_of_a_job_are_told_and_faults_are_not(tmp_path, kind):
    kind.gate.set()

    async def story():
        async with Server(tmp_path, kind) as server:
            kind.error = StorageFailure(5, "read: the device refused", "/secret")
            failed = await server.ended((await server.ask("a")).id)
            assert (failed.error.code, failed.error.errno) == ("storage_failure", 5)
            assert "the device refused" in failed.error.message
            kind.error = ZeroDivisionError("at /secret/path")
            fault = await server.ended((await server.ask("a")).id)
            assert states([failed, fault]) == ["failed", "failed"]
            assert (fault.error.code, "secret" in fault.error.message) == ("internal", False)
            assert fault.id in fault.error.message

    asyncio.run(story())


def test_jobs_are_cancelled_waiting_or_at_work_and_resumed(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            first, second = (await server.ask("a")).id, (await server.ask("b")).id
            await until(lambda: kind.begun == ["a"])
            assert states([await server.jobs.cancel(second, ANONYMOUS)]) == ["cancelled"]
            await server.jobs.cancel(first, ANONYMOUS)
            assert states([await server.ended(first)]) == ["cancelled"]
            assert states([await server.jobs.cancel(first, ANONYMOUS)]) == ["cancelled"]
            kind.gate.set()
            for job_id in (second, first):
                assert states([await server.jobs.resume(job_id, ANONYMOUS)])[0] in ("waiting", "running")
                assert states([await server.ended(job_id)]) == ["succeeded"]
            with pytest.raises(InvalidArgument, match="it has succeeded"):
                await server.jobs.resume(first, ANONYMOUS)
            assert kind.begun == ["a", "b", "a"]

    asyncio.run(story())


def test_an_upload_that_came_later_is_not_the_one_that_a_job_holds(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            await server.upload("u")
            await server.ask("a", job_id="j", upload_id="u")
            await server.jobs.cancel("j", ANONYMOUS)
            await server.ended("j")
            await server.uploads.remove("u", ANONYMOUS.name)

            await server.jobs.resume("j", ANONYMOUS)  # what it does without its upload is its own affair
            await server.upload("u")
            kind.gate.set()
            assert states([await server.ended("j")]) == ["succeeded"]
            assert states([await server.ended((await server.ask("b")).id)]) == ["succeeded"]

    asyncio.run(story())


def test_callers_see_jobs_about_what_they_may_see(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            mine, other = (await server.ask("a1")).id, (await server.ask("b1")).id
            assert [job.id for job in server.jobs.listed(ALICE, ended=True)] == [mine]
            assert server.jobs.get(mine, ALICE).id == mine
            for ask in (server.jobs.cancel, server.jobs.resume):
                with pytest.raises(NotFound) as hidden:
                    await ask(other, ALICE)
                with pytest.raises(NotFound) as missing:
                    await ask("f" * 16, ALICE)
                assert str(hidden.value).replace(other, "") == str(missing.value).replace("f" * 16, "")
            with pytest.raises(NotFound):
                await anext(server.jobs.watch(other, ALICE))

    asyncio.run(story())


def test_a_job_goes_on_in_the_next_process(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            ids = [(await server.ask(name)).id for name in "abc"]
            await until(lambda: kind.begun == ["a"])
            await server.jobs.cancel(ids[2], ANONYMOUS)
            watching = asyncio.create_task(server.ended(ids[1]))
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="the server stops"):
            await watching
        kind.gate.set()
        async with Server(tmp_path, kind) as server:
            for job_id in ids[:2]:
                assert states([await server.ended(job_id)]) == ["succeeded"]
            assert states([server.jobs.get(ids[2], ANONYMOUS)]) == ["cancelled"]
        assert kind.begun == ["a", "a", "b"]
        async with Server(tmp_path, kind) as server:
            assert states(server.jobs.listed(ANONYMOUS, ended=True)) == ["cancelled", "succeeded", "succeeded"]
            assert from_document(server.jobs.get(ids[0], ANONYMOUS).result, Outcome) == Outcome("a")

    asyncio.run(story())


@pytest.mark.parametrize("file", ["request", "outcome"])
@pytest.mark.parametrize("damage", [b"", b"00000000 {}\n", None])
def test_a_damaged_job_is_listed_as_failed(tmp_path, kind, file, damage):
    kind.gate.set()

    async def story():
        async with Server(tmp_path, kind) as server:
            job_id = (await server.ask("a")).id
            await server.ended(job_id)
        path = tmp_path / "jobs" / job_id / file
        path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
        async with Server(tmp_path, kind) as server:
            [job] = server.jobs.listed(ANONYMOUS, ended=True)
            assert (job.id, states([job])) == (job_id, ["failed"])
            assert job.error.code in ("corrupt_file", "unsupported_format")
            assert server.jobs.listed(ALICE, ended=True) == []
            with pytest.raises(InvalidArgument, match="cannot be resumed"):
                await server.jobs.resume(job_id, ANONYMOUS)

    asyncio.run(story())


def test_a_kind_of_a_newer_release_is_listed_as_failed(tmp_path, kind):
    async def story():
        async with Server(tmp_path, kind) as server:
            job_id = (await server.ask("a")).id
        old = Server(tmp_path, kind)
        old.jobs._kinds.clear()
        async with old as server:
            assert server.jobs.get(job_id, ANONYMOUS).error.code == "unsupported_format"
        kind.gate.set()
        async with Server(tmp_path, kind) as server:
            assert states([await server.ended(job_id)]) == ["succeeded"]

    asyncio.run(story())


def test_old_jobs_are_forgotten(tmp_path, kind):
    kind.gate.set()

    async def story():
        async with Server(tmp_path, kind, keep_seconds=0.2) as server:
            await server.ask("a")
            await until(lambda: not server.jobs.listed(ANONYMOUS, ended=True))
            await until(lambda: not list((tmp_path / "jobs").iterdir()))

    asyncio.run(story())


def test_following_a_job_of_the_engine_passes_on_progress_and_cancelling(tmp_path, kind):
    seen = threading.Event()

    def follow(request, work):
        def engine(report):
            report(Progress("inner", 0.25, None))
            while not seen.wait(0.005):
                report(Progress("inner", 0.25, None))
            return Outcome("engine")

        return work.follow(EngineJob("inner", engine))

    kind.run = follow

    async def story():
        async with Server(tmp_path, kind) as server:
            job_id = (await server.ask("a")).id
            await until(lambda: server.jobs.get(job_id, ANONYMOUS).progress.stage == "inner")
            await server.jobs.cancel(job_id, ANONYMOUS)
            cancelled = await server.ended(job_id)
            assert (states([cancelled]), cancelled.error.code) == (["cancelled"], Cancelled.code)
            seen.set()
            await server.jobs.resume(job_id, ANONYMOUS)
            assert from_document((await server.ended(job_id)).result, Outcome) == Outcome("engine")

    asyncio.run(story())
