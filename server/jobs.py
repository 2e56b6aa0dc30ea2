"""Long work that outlives the call that began it, and the process.

A service registers each kind of job with the message that asks for it and a function that does it, in a thread:

    jobs.register("build", BuildIndexRequest, self._build)

    def _build(self, request: BuildIndexRequest, work: Work) -> Manifest:
        vectors = work.upload(request.upload_id).array("vectors")
        return work.follow(collection.build(vectors, memory=work.memory_bytes(request.memory_bytes)))

and its RPC hands the request in:

    return BuildIndexResponse(job=await self._jobs.submit(request, call, check))

The request is stored before work begins. The function is called again with the same request after the process has ended
meanwhile, and by ResumeJob; so it must do nothing twice that is wrong twice. Its result, a dataclass, a list of them or
None, becomes the job's document. Fields `job_id` and `upload_id` of the request, the latter wherever it stands, are the
name of the job and the uploads that it needs: they stay until it has succeeded, and are removed then.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from google.protobuf.message import Message

from outcrop.errors import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    NotFound,
    OutcropError,
    StorageFailure,
    Unavailable,
    UnsupportedFormat,
)
from outcrop.proto.status import Overloaded
from outcrop.server.call import Call
from outcrop.server.identity import Identity
from outcrop.server.job_journal import JobJournal, JobOutcome, JobRequest, digest
from outcrop.server.job_outcome import outcome_of
from outcrop.server.settings import Jobs as JobSettings
from outcrop.server.tracked_job import TrackedJob
from outcrop.server.upload_files import StagedUpload
from outcrop.server.uploads import Uploads
from outcrop.server.work import Work
from outcrop.types import check_name
from outcrop.v1 import job_pb2 as pb

Result = TypeVar("Result")
Run = Callable[[Any, Work], Any]

_SWEEP_SECONDS = 60.0
_RETRY_SECONDS = 30.0


class Jobs:
    """All jobs of one root. Belongs to one event loop; the functions of jobs run in threads of their own."""

    def __init__(self, folder: Path, settings: JobSettings, uploads: Uploads) -> None:
        """folder: where jobs are kept."""
        self.uploads = uploads
        self.settings = settings
        self._journal = JobJournal(folder)
        self._kinds: dict[str, tuple[type[Message], Run]] = {}
        self._jobs: dict[str, TrackedJob] = {}
        self._waiting: list[TrackedJob] = []
        self._adding: set[str] = set()
        self._last_number = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping = False
        # One more than jobs at work: for the journal's files.
        self._threads = ThreadPoolExecutor(settings.concurrent + 1, thread_name_prefix="job")
        self._log = structlog.get_logger("outcrop.jobs")

    def register(self, kind: str, request: type[Message], run: Run) -> None:
        """Say how jobs of a kind are done; see the top of this module. Before `start`."""
        assert kind not in self._kinds
        self._kinds[kind] = (request, run)

    async def start(self) -> None:
        """Take up what an earlier process has left unfinished. Raises StorageFailure."""
        await self.uploads.start()
        for job in await self._in_thread(lambda: [self._restored(*stored) for stored in self._journal.load()]):
            self._jobs[job.request.id] = job
            self._last_number = max(self._last_number, job.request.number)
        for job in sorted(self._jobs.values(), key=lambda job: job.request.number):
            if not job.ended:
                self._log.info("job taken up", job=job.request.id, kind=job.request.kind)
                job.held = self._hold_again(job)
                self._waiting.append(job)
        self._begin_some()
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_regularly())

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each state. Any thread."""
        jobs = list(self._jobs.values())  # in one step, while the event loop may add some
        return dict(Counter("running" if job.work else job.outcome.state for job in jobs))

    async def stop(self) -> None:
        """Stop the jobs at work; they go on when a server is started again. Watchers get Unavailable."""
        self._stopping = True
        self._waiting.clear()
        for job in self._jobs.values():
            job.notify()
            if job.work is not None:
                job.work.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def submit(self, request: Message, call: Call, check: Callable[[], object] | None = None) -> pb.Job:
        """Return the job that `request` asks for: a new one, stored before this returns, or the one of that `job_id`.

        check: called in a thread before a new job is stored; what it raises, the caller gets. Raises NotFound for a
        missing upload, AlreadyExists when the id belongs to another request, Overloaded when too many jobs wait,
        StorageFailure.
        """
        kind = next(kind for kind, (wanted, _) in self._kinds.items() if wanted is type(request))
        job_id = getattr(request, "job_id", "") or secrets.token_hex(8)
        check_name("job_id", job_id, longest=64)
        message = request.SerializeToString(deterministic=True)
        wanted = JobRequest(job_id, kind, call.identity.name, self._last_number + 1, time.time(), digest(message))
        if job_id in self._jobs:
            return self._repeated(wanted).to_message()
        self._admit(job_id)
        self._last_number += 1
        job = TrackedJob(wanted, JobOutcome(), request)
        try:
            job.held = self.uploads.hold(job.uploads, wanted.owner)
            try:
                if check is not None:
                    await call.run(check)
            except BaseException:
                self.uploads.release(job.held)
                raise
        except BaseException:
            self._adding.discard(job_id)
            raise
        # What is being stored is done, even if the caller has left meanwhile.
        await asyncio.shield(self._spawn(self._store(job, message)))
        return job.to_message()

    def get(self, job_id: str, identity: Identity) -> pb.Job:
        """Return a job. Raises NotFound, also for one about objects that the caller may not see."""
        return self._find(job_id, identity).to_message()

    def listed(self, identity: Identity, ended: bool) -> list[pb.Job]:
        """Return the jobs that the caller may see, newest first, without their results. ended: also those."""
        jobs = [job for job in self._jobs.values() if job.seen_by(identity) and (ended or not job.ended)]
        jobs.sort(key=lambda job: (job.request.created_unix, job.request.number), reverse=True)
        messages = [job.to_message() for job in jobs]
        for message in messages:
            message.ClearField("result")
        return messages

    async def watch(self, job_id: str, identity: Identity) -> AsyncIterator[pb.Job]:
        """Yield a job as it is, then whenever it has changed, until it has ended.

        Raises NotFound; Unavailable when the server stops before.
        """
        job = self._find(job_id, identity)
        while True:
            changed, ended = job.changed, job.ended
            yield job.to_message()
            if ended:
                return
            if self._stopping:
                raise Unavailable(f"job {job_id}: the server stops; the job goes on when it is started again")
            await changed.wait()

    async def cancel(self, job_id: str, identity: Identity) -> pb.Job:
        """Ask a job to stop, and return it; one that has ended stays as it is. Raises NotFound, StorageFailure."""
        job = self._find(job_id, identity)
        if job.work is not None:
            job.cancelled = True
            job.work.stop()
        elif job in self._waiting:
            self._waiting.remove(job)
            text = f"job {job_id}: cancelled before it began"
            await self._end(job, JobOutcome("cancelled", time.time(), Cancelled.code, text))
        return job.to_message()

    async def resume(self, job_id: str, identity: Identity) -> pb.Job:
        """Put a job that was cancelled or has failed into the queue again, and return it.

        One that waits or is at work stays as it is. Raises NotFound; InvalidArgument for one that has succeeded;
        StorageFailure.
        """
        job = self._find(job_id, identity)
        if not job.readable:
            raise InvalidArgument(f"job {job_id}: cannot be resumed: {job.outcome.error_message}")
        if job.outcome.state == "succeeded":
            raise InvalidArgument(f"job {job_id}: expected one that was cancelled or has failed; it has succeeded")
        if job.ended:
            self._admit(job_id)
            await asyncio.shield(self._spawn(self._store_again(job)))
        return job.to_message()

    def _restored(self, request: JobRequest, message: bytes, outcome: JobOutcome) -> TrackedJob:
        """A job of an earlier process. One that this release cannot do has failed."""
        known = self._kinds.get(request.kind)
        if known is not None:
            return TrackedJob(request, outcome, known[0].FromString(message))
        if outcome.state == "waiting":
            text = f"job {request.id}: this release knows no jobs of kind {request.kind!r}; upgrade outcrop"
            outcome = JobOutcome("failed", time.time(), UnsupportedFormat.code, text)
        return TrackedJob(request, outcome, None)

    def _find(self, job_id: str, identity: Identity) -> TrackedJob:
        job = self._jobs.get(job_id)
        if job is None or not job.seen_by(identity):
            raise NotFound(f"there is no job {job_id!r}; it may have ended long ago")
        return job

    def _repeated(self, wanted: JobRequest) -> TrackedJob:
        job = self._jobs[wanted.id]
        stored = job.request
        if (stored.kind, stored.owner, stored.message_sha256) != (wanted.kind, wanted.owner, wanted.message_sha256):
            raise AlreadyExists(f"job {wanted.id!r}: there is one of that id for another request; choose another id")
        return job

    def _admit(self, job_id: str) -> None:
        """Let a job in, which counts as waiting until it is taken out of `_adding`."""
        if self._stopping:
            raise Unavailable("the server stops; try again when it is back")
        if job_id in self._adding:
            raise Unavailable(f"job {job_id!r} is being stored; try again")
        if len(self._waiting) + len(self._adding) >= self.settings.waiting:
            raise Overloaded(f"{len(self._waiting)} jobs wait already; try again later", _RETRY_SECONDS)
        self._adding.add(job_id)

    async def _store(self, job: TrackedJob, message: bytes) -> None:
        request = job.request
        try:
            await self._in_thread(self._journal.add, request, message)
            self._log.info("job accepted", job=request.id, kind=request.kind, owner=request.owner)
        except BaseException:
            self.uploads.release(job.held)
            raise
        finally:
            self._adding.discard(request.id)
        self._jobs[request.id] = job
        self._waiting.append(job)
        self._begin_some()

    async def _store_again(self, job: TrackedJob) -> None:
        held: list[StagedUpload] = []
        try:
            held = self._hold_again(job)
            await self._in_thread(self._journal.set_outcome, job.request.id, JobOutcome())
        except BaseException:
            self.uploads.release(held)
            raise
        finally:
            self._adding.discard(job.request.id)
        job.held = held
        job.end(JobOutcome())
        self._waiting.append(job)
        self._begin_some()

    def _hold_again(self, job: TrackedJob) -> list[StagedUpload]:
        """An upload that has gone meanwhile is missed when the job needs it."""
        return self.uploads.hold(job.uploads, job.request.owner, missing_ok=True)

    def _begin_some(self) -> None:
        at_work = sum(job.work is not None for job in self._jobs.values())
        while self._waiting and at_work < self.settings.concurrent and not self._stopping:
            job = self._waiting.pop(0)
            job.begin(Work(job.request.owner, self.uploads, self.settings, job.notice()))
            self._spawn(self._execute(job))
            at_work += 1

    async def _execute(self, job: TrackedJob) -> None:
        outcome = await self._in_thread(self._done, job)
        if outcome is not None:
            await self._end(job, outcome)
            self._begin_some()

    def _done(self, job: TrackedJob) -> JobOutcome | None:
        """Do the work of a job; None when it has ended because the server stops."""
        kind, run = self._kinds[job.request.kind]
        outcome = outcome_of(job, lambda work: run(kind.FromString(self._journal.message(job.request.id)), work))
        return None if outcome.state == "cancelled" and self._stopping and not job.cancelled else outcome

    async def _end(self, job: TrackedJob, outcome: JobOutcome) -> None:
        try:
            await self._in_thread(self._journal.set_outcome, job.request.id, outcome)
        except OutcropError as error:
            # Whoever waits learns what happened; after a restart the job is done once more, to the same end.
            self._log.error("outcome of a job could not be stored", job=job.request.id, error=str(error))
        self.uploads.release(job.held)
        job.held = []
        if outcome.state == "succeeded":
            for upload_id in job.uploads:
                with suppress(Unavailable, NotFound, StorageFailure):  # needed, removed already, or else it will expire
                    await self.uploads.remove(upload_id, job.request.owner)
        job.end(outcome)

    async def _sweep_regularly(self) -> None:
        while True:
            try:
                await self._forget_old()
                await self.uploads.expire()
            except OutcropError as error:
                self._log.error("old jobs and uploads could not be removed", error=str(error))
            await asyncio.sleep(min(_SWEEP_SECONDS, self.settings.keep_seconds, self.settings.upload_expires_seconds))

    async def _forget_old(self) -> None:
        oldest = time.time() - self.settings.keep_seconds
        for job in list(self._jobs.values()):
            if job.ended and (job.outcome.ended_unix or 0.0) < oldest and job.request.id not in self._adding:
                del self._jobs[job.request.id]
                await self._in_thread(self._journal.remove, job.request.id)

    async def _in_thread(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _spawn(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        """A task that `stop` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
