"""PlanService: plans, and minibatches on their way."""

import json
from collections.abc import AsyncIterator
from typing import Any

from outcrop import plans
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader import Plan, PlanOptions
from outcrop.proto.documents import to_document
from outcrop.proto.sampling import from_fanouts, from_features, from_options, from_seeds
from outcrop.server import minibatch_streams
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.jobs import Jobs
from outcrop.server.minibatch_streams import FreshStreams, batches_of, upload_of
from outcrop.server.work import Work, budget
from outcrop.store import Manifest
from outcrop.types import AnyArray, DeviceModel, PlanReport
from outcrop.v1 import plan_pb2 as pb
from outcrop.v1.sampling_pb2 import MinibatchSpec

_MEASURE_SECONDS = 2.0


class PlanService:
    """See proto/outcrop/v1/plan.proto."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        self._connection = engine.database.connection
        self._fresh = FreshStreams(engine)
        jobs.register("create_plan", pb.CreatePlanRequest, self._create)

    async def create_plan(self, request: pb.CreatePlanRequest, call: Call) -> pb.CreatePlanResponse:
        """Make a job of a plan."""
        owner, memory = call.identity.name, budget(self._engine.settings.jobs, request.pack_bytes)
        check = lambda: plans.check_plan(self._connection, *self._arguments(request, owner, memory))  # noqa: E731
        return pb.CreatePlanResponse(job=await self._jobs.submit(request, call, check))

    async def get_plan(self, request: pb.GetPlanRequest, call: Call) -> pb.GetPlanResponse:
        """Return what a plan is."""
        return pb.GetPlanResponse(plan=await call.run(self._described, request.name))

    async def list_plans(self, request: pb.ListPlansRequest, call: Call) -> pb.ListPlansResponse:
        """Return those that the caller may see, by name."""
        names = await call.run(self._engine.database.plan_names)
        seen = [name for name in names if call.identity.sees("plans", name)]
        return pb.ListPlansResponse(plans=await call.run(lambda: list(map(self._described, seen))))

    async def delete_plan(self, request: pb.DeletePlanRequest, call: Call) -> pb.DeletePlanResponse:
        """Drop a plan."""
        await call.run(self._engine.drop, "plans", request.name)
        return pb.DeletePlanResponse()

    async def explain_plan(self, request: pb.ExplainPlanRequest, call: Call) -> pb.ExplainPlanResponse:
        """Return what a plan holds and what its epochs will cost."""
        return pb.ExplainPlanResponse(report=to_document(await call.run(self._explained, request)))

    async def stream_minibatches(self, request: pb.StreamMinibatchesRequest, call: Call) -> AsyncIterator[bytes]:
        """Yield minibatches of a plan, or sampled as they go."""
        if request.WhichOneof("source") == "plan":
            groups = minibatch_streams.planned(self._engine, request, call.stop)
        elif request.WhichOneof("source") == "online":
            groups = minibatch_streams.online(self._engine, request, call.stop)
        else:
            raise InvalidArgument("source: expected plan or online, found neither")
        async for messages in call.each(groups):
            for message in messages:
                yield message

    async def stream_fresh_minibatches(
        self, request: pb.StreamFreshMinibatchesRequest, call: Call
    ) -> AsyncIterator[bytes]:
        """Yield minibatches of plans that are made as they go."""
        uploaded = self._uploaded(request.minibatches, call.identity.name)
        async for messages in call.each(self._fresh.stream(request, uploaded, call.stop)):
            for message in messages:
                yield message

    def _create(self, request: pb.CreatePlanRequest, work: Work) -> Manifest:
        arguments = self._arguments(request, work.owner, work.memory_bytes(request.pack_bytes))
        return work.follow(plans.plan_making(self._connection, *arguments))

    def _arguments(self, request: pb.CreatePlanRequest, owner: str, memory_bytes: int) -> tuple[Any, ...]:
        """What `plans.plan_making` takes behind the connection."""
        options = PlanOptions(
            cache_bytes=request.cache_bytes,
            pack_bytes=memory_bytes,
            disk_bytes=request.disk_bytes if request.HasField("disk_bytes") else None,
            num_shards=request.num_shards or 1,
            replayed=request.replayed,
            threads=self._connection.threads,
        )
        spec = request.minibatches
        return (
            request.name,
            spec.graph,
            from_features(spec.features),
            from_seeds(spec.seeds, self._uploaded(spec, owner)),
            from_fanouts(spec.fanouts),
            batches_of(spec),
            (request.first_epoch, request.epochs),
            options,
            from_options(spec.options),
        )

    def _uploaded(self, spec: MinibatchSpec, owner: str) -> dict[str, AnyArray]:
        """The seeds that came before the message, by name."""
        upload_id = upload_of(spec)
        if not upload_id:
            return {}
        upload = self._jobs.uploads.get(upload_id, owner)
        return {name: upload.array(name) for name in upload.arrays}

    def _described(self, name: str) -> pb.Plan:
        record = self._engine.opened.record("plans", name)
        if record.current_version is None:
            return pb.Plan(name=name, id=record.id)
        root, reader = self._connection.root, self._connection.reader
        with Plan(root, name, root.open_version(record.id), reader) as plan:
            return _message(plan)

    def _explained(self, request: pb.ExplainPlanRequest) -> PlanReport:
        with self._engine.database.plan(request.name) as plan:
            if request.HasField("iops") and request.HasField("bytes_per_second"):
                return plan.explain(DeviceModel(request.iops, request.bytes_per_second))
            seconds = request.measure_seconds if request.HasField("measure_seconds") else _MEASURE_SECONDS
            return plan.explain(plan.measured_device(seconds))


def _message(plan: Plan) -> pb.Plan:
    stale = ""
    try:
        plan.check_current()
    except InvalidArgument as error:
        stale = str(error)
    return pb.Plan(
        name=plan.name,
        version=plan.version,
        id=plan.manifest.object_id,
        num_epochs=plan.num_epochs,
        shards=[pb.PlanShard(epochs=epochs) for epochs in plan.layout.shards],
        disk_bytes=plan.manifest.size_bytes,
        properties_json=json.dumps(plan.manifest.properties),
        stale=stale,
    )
