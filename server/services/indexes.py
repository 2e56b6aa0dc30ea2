"""IndexService: building and verifying the index of a collection, as jobs."""

import dataclasses
from typing import Any

from outcrop.ann import Builder, BuildOptions
from outcrop.proto.tensors import from_tensor
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.jobs import Jobs
from outcrop.server.uploads import Upload
from outcrop.server.work import Work, budget
from outcrop.types import Manifest, Problem, VerifyReport
from outcrop.v1 import index_pb2 as pb

# More of a damaged version would not fit a message.
_MOST_PROBLEMS = 1000


class IndexService:
    """See proto/outcrop/v1/index.proto."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        jobs.register("build", pb.BuildIndexRequest, self._build)
        jobs.register("verify_index", pb.VerifyIndexRequest, self._verify)

    async def build_index(self, request: pb.BuildIndexRequest, call: Call) -> pb.BuildIndexResponse:
        """Build a new version from an upload."""
        owner = call.identity.name
        job = await self._jobs.submit(request, call, lambda: self._check_build(request, owner))
        return pb.BuildIndexResponse(job=job)

    async def verify_index(self, request: pb.VerifyIndexRequest, call: Call) -> pb.VerifyIndexResponse:
        """Read and check the current version."""

        def check() -> None:
            self._engine.collection(request.collection)
            budget(self._jobs.settings, request.memory_bytes)

        return pb.VerifyIndexResponse(job=await self._jobs.submit(request, call, check))

    def _check_build(self, request: pb.BuildIndexRequest, owner: str) -> None:
        """Raise what can be found before any work."""
        collection = self._engine.collection(request.collection)
        vectors, ids = _input(self._jobs.uploads.get(request.upload_id, owner))
        options = self._options(request, budget(self._jobs.settings, request.memory_bytes))
        options["memory_bytes"], options["num_threads"] = options.pop("memory"), options.pop("threads")
        options["search_memory_bytes"] = options.pop("search_memory")
        Builder(collection.spec, vectors, ids, BuildOptions(**options))

    def _build(self, request: pb.BuildIndexRequest, work: Work) -> Manifest:
        collection = self._engine.collection(request.collection)
        vectors, ids = _input(work.upload(request.upload_id))
        options = self._options(request, work.memory_bytes(request.memory_bytes))
        return work.follow(collection.build(vectors, ids, **options))

    def _verify(self, request: pb.VerifyIndexRequest, work: Work) -> VerifyReport:
        collection = self._engine.collection(request.collection)
        report = collection.verify(memory=work.memory_bytes(request.memory_bytes), progress=work.report)
        return dataclasses.replace(report, problems=first_problems(report.problems))

    def _options(self, request: pb.BuildIndexRequest, memory_bytes: int) -> dict[str, Any]:
        """The arguments of `Collection.build`."""

        def given(name: str) -> Any:
            return getattr(request, name) if request.HasField(name) else None

        most_threads = self._engine.database.connection.threads
        queries = request.calibration_queries
        return {
            "memory": memory_bytes,
            "search_memory": given("search_memory_bytes"),
            "threads": min(given("threads") or most_threads, most_threads),
            "code": request.code or "auto",
            "num_centroids": given("num_centroids"),
            "copies": given("copies"),
            "copy_rule": given("copy_rule"),
            "seed": request.seed,
            "calibration_queries": from_tensor(queries, "calibration_queries") if queries.ByteSize() else None,
        }


def first_problems(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return as many as a message may hold, and how many more there are."""
    if len(problems) <= _MOST_PROBLEMS:
        return problems
    more = Problem("", None, f"and {len(problems) - _MOST_PROBLEMS} more")
    return (*problems[:_MOST_PROBLEMS], more)


def _input(upload: Upload) -> tuple[Any, Any]:
    """Vectors and ids; None for rows to be numbered."""
    vectors = upload.array("vectors")
    if "id_bytes" in upload.arrays:
        return vectors, upload.texts("id")
    if "ids" in upload.arrays:
        return vectors, upload.array("ids")
    return vectors, None
