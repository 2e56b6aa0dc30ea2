"""AdminService: the server itself."""

import dataclasses
import functools
import importlib.metadata
import os
import time
from collections.abc import Callable

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.proto.chunks import CHUNK_BYTES
from outcrop.proto.documents import to_document
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.identity import ROLES
from outcrop.server.jobs import Jobs
from outcrop.server.metrics import ServerMetrics
from outcrop.server.observer import Observer
from outcrop.server.place import Place
from outcrop.server.services.indexes import first_problems
from outcrop.server.status_document import status_document
from outcrop.server.work import Work, budget
from outcrop.types import STORED_KINDS, ServerStatistics, StoredReport
from outcrop.v1 import admin_pb2 as pb


class AdminService:
    """See proto/outcrop/v1/admin.proto."""

    def __init__(
        self, engine: Engine, jobs: Jobs, metrics: ServerMetrics, place: Place, drain: Callable[[], object]
    ) -> None:
        """drain: begins to stop this server, and with it those beside it."""
        self._engine, self._jobs, self._metrics, self._place, self._drain = engine, jobs, metrics, place, drain
        self._observer = Observer(engine, metrics)
        self._began = time.time()
        jobs.register("verify", pb.VerifyRequest, self._verify)

    async def get_server_info(self, request: pb.GetServerInfoRequest, call: Call) -> pb.GetServerInfoResponse:
        """Return what the server is, and what it allows."""
        kind, reason = await call.run(lambda: _reader(self._engine.settings.reader))
        limits = self._engine.settings.limits
        return pb.GetServerInfoResponse(
            version=importlib.metadata.version("outcrop"),
            reader=kind,
            reader_reason=reason,
            instructions=native.active_isa(),
            limits=pb.Limits(
                message_bytes=limits.message,
                k=limits.k,
                queries=limits.queries,
                dimension=limits.dimension,
                chunk_bytes=CHUNK_BYTES,
                longest_deadline_seconds=limits.longest_deadline_seconds,
            ),
            role=ROLES.index(call.identity.role) + 1,  # type: ignore[arg-type]  # an enum of protobuf is an int
            process=os.getpid(),
            writer=self._place.writes,
            workers=self._engine.settings.workers,
            started_unix=self._began,
        )

    async def get_statistics(self, request: pb.GetStatisticsRequest, call: Call) -> pb.GetStatisticsResponse:
        """Return the counters of this process."""
        return pb.GetStatisticsResponse(statistics=to_document(await call.run(self._statistics)))

    async def verify(self, request: pb.VerifyRequest, call: Call) -> pb.VerifyResponse:
        """Read every byte of a graph, a feature table or a plan."""
        return pb.VerifyResponse(job=await self._jobs.submit(request, call, lambda: self._check_verify(request)))

    async def collect_garbage(self, request: pb.CollectGarbageRequest, call: Call) -> pb.CollectGarbageResponse:
        """Remove what nobody needs."""
        await call.run(self._engine.opened.release_idle)
        return pb.CollectGarbageResponse(removed=await call.run(self._engine.database.gc))

    async def drain(self, request: pb.DrainRequest, call: Call) -> pb.DrainResponse:
        """Stop the server, once the calls under way have ended."""
        self._drain()
        return pb.DrainResponse()

    def _check_verify(self, request: pb.VerifyRequest) -> None:
        kind, name = request.object.kind, request.object.name
        if kind not in STORED_KINDS:
            hint = "; IndexService.VerifyIndex is for collections" if kind == "collections" else ""
            raise InvalidArgument(f"kind: expected one of {', '.join(STORED_KINDS)}, found {kind!r}{hint}")
        self._engine.database.connection.root.get(kind, name)
        budget(self._jobs.settings, request.memory_bytes)

    def _verify(self, request: pb.VerifyRequest, work: Work) -> StoredReport:
        report = self._engine.database.verify(
            request.object.kind,
            request.object.name,
            memory=work.memory_bytes(request.memory_bytes),
            progress=work.report,
        )
        return dataclasses.replace(report, problems=first_problems(report.problems))

    def _statistics(self) -> ServerStatistics:
        self._observer.observe()
        found = status_document(self._metrics.registry, {})
        stored = self._engine.database.connection.root.statistics()
        codes: dict[str, int] = {}
        for method in found["methods"]:
            for code, count in method["codes"].items():
                codes[code] = codes.get(code, 0) + int(count)
        return ServerStatistics(
            uptime_seconds=time.time() - self._began,
            resident_bytes=int(found["resident_bytes"]),
            memory_bytes=int(sum(sum(each["memory"].values()) for each in found["objects"])),
            calls={method["name"]: int(sum(method["codes"].values())) for method in found["methods"]},
            codes=codes,
            in_flight=int(sum(method["in_flight"] for method in found["methods"])),
            queue_calls=int(found["queue"]["calls"]),
            queue_bytes=int(found["queue"]["bytes"]),
            shed={reason: int(count) for reason, count in found["shed"].items()},
            jobs=self._jobs.counts(),
            num_objects=stored.num_objects,
            num_versions=stored.num_versions,
            disk_bytes=stored.size_bytes,
        )


@functools.cache
def _reader(wanted: str) -> tuple[str, str]:
    """How files are read here, and why so. Asked once: the answer takes a ring of the kernel."""
    reader = native.BlockReader(wanted, queue_depth=1, num_threads=1)
    return reader.kind, reader.reason
