"""Plans: making them, what they are, and streams of their minibatches."""

from dataclasses import dataclass
from typing import Any

from outcrop.client.rpc import Rpc
from outcrop.errors import InvalidArgument, NotFound
from outcrop.proto.documents import from_document
from outcrop.proto.tensors import from_tensor
from outcrop.types import KINDS, AnyArray, DeviceModel, OnlineOptions, PlanReport, parse_budget, parse_bytes
from outcrop.v1 import plan_pb2 as pb
from outcrop.v1.job_pb2 import Job
from outcrop.v1.sampling_pb2 import EdgeSeeds, MinibatchSpec, NodeSeeds


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """A version of a plan, as the server tells it; see `Plan`. shards: of each, where its epochs begin, and where the
    last one ends. stale: why it fits no more; "" while it does."""

    name: str
    id: str
    version: int
    num_epochs: int
    shards: tuple[tuple[int, ...], ...]
    disk_bytes: int
    stale: str


def get(name: str) -> Rpc[FoundPlan]:
    """Find a plan by its name; `read` raises NotFound before the first one is made."""
    return Rpc(pb.GetPlanRequest(name=name), lambda response: _found(response.plan))


def names() -> Rpc[list[str]]:
    """List all that the key may see."""
    return Rpc(pb.ListPlansRequest(), lambda response: [plan.name for plan in response.plans])


def drop(name: str) -> Rpc[None]:
    """Remove a plan."""
    return Rpc(pb.DeletePlanRequest(name=name), lambda _: None)


def explain(name: str, device: DeviceModel) -> Rpc[PlanReport]:
    """Ask what its epochs cost on a device."""
    request = pb.ExplainPlanRequest(name=name, iops=device.iops, bytes_per_second=device.bandwidth)
    return Rpc(request, lambda response: from_document(response.report, PlanReport))


def measured(name: str, seconds: float) -> Rpc[PlanReport]:
    """Ask what its epochs cost on the server's device, which is measured for so long."""
    request = pb.ExplainPlanRequest(name=name, measure_seconds=seconds)
    return Rpc(request, lambda response: from_document(response.report, PlanReport))


def planned(
    plan: FoundPlan,
    shard: int,
    *,
    slots: int = 0,
    memory: int | None = None,
    decode: bool = True,
    features: bool = True,
) -> pb.StreamMinibatchesRequest:
    """Return a request for the minibatches of a shard, from the first one on."""
    source = pb.PlanSource(
        name=plan.name, id=plan.id, version=plan.version, shard=shard, memory_bytes=0 if memory is None else memory
    )
    return pb.StreamMinibatchesRequest(plan=source, slots=slots, coded=not decode, without_features=not features)


def online(minibatches: MinibatchSpec, options: OnlineOptions) -> pb.StreamMinibatchesRequest:
    """Return a request for minibatches that are sampled as they go."""
    source = pb.OnlineSource(
        minibatches=minibatches,
        cache_bytes=parse_budget(options.cache_memory),
        window=options.window,
        scores=options.scores,
        num_sampled=options.num_sampled,
        victim_bytes=None if options.victim_memory is None else parse_budget(options.victim_memory),
        victim_disk_bytes=None if options.victim_disk is None else parse_budget(options.victim_disk),
        longest_group=options.longest_group,
    )
    return pb.StreamMinibatchesRequest(online=source, slots=options.slots)


def fresh(
    name: str,
    minibatches: MinibatchSpec,
    epochs: int | None,
    cache_memory: str | int,
    pack_memory: str | int,
    disk: str | int | None,
    slots: int,
) -> pb.StreamFreshMinibatchesRequest:
    """Return a request for minibatches of plans that are made as they go. Raises InvalidArgument."""
    if epochs is not None and epochs < 1:
        raise InvalidArgument(f"num_epochs: expected at least 1, or None, found {epochs}")
    return pb.StreamFreshMinibatchesRequest(
        name=name,
        minibatches=minibatches,
        epochs=epochs,
        cache_bytes=parse_budget(cache_memory),
        pack_bytes=parse_bytes(pack_memory),
        disk_bytes=None if disk is None else parse_bytes(disk),
        slots=slots,
    )


def create_request(
    name: str, minibatches: MinibatchSpec, epochs: tuple[int, int], **budgets: Any
) -> pb.CreatePlanRequest:
    """Return a request for a plan. epochs: the first and how many. budgets: other fields of the message."""
    first, count = epochs
    return pb.CreatePlanRequest(
        name=name,
        minibatches=minibatches,
        first_epoch=first,
        epochs=count,
        **budgets,
    )


def create(request: pb.CreatePlanRequest, job_id: str) -> Rpc[Job]:
    """Make a plan."""
    request.job_id = job_id
    return Rpc(request, lambda response: response.job)


def taken_seeds(spec: MinibatchSpec) -> "tuple[NodeSeeds | EdgeSeeds, dict[str, AnyArray]]":
    """Take the arrays of seeds out of a message; return what is left of it, and the arrays by name."""
    seeds: Any = getattr(spec.seeds, str(spec.seeds.WhichOneof("kind")))
    name = "ids" if spec.seeds.HasField("nodes") else "pairs"
    arrays = {name: from_tensor(getattr(seeds, name), name)}
    if seeds.HasField("times"):
        arrays["times"] = from_tensor(seeds.times, "times")
    for field in arrays:
        seeds.ClearField(field)
    return seeds, arrays


def upload_of(spec: MinibatchSpec) -> str:
    """Return the upload that has the seeds; "" when they are in the message."""
    return spec.seeds.nodes.upload_id or spec.seeds.links.upload_id


def _found(plan: pb.Plan) -> FoundPlan:
    if not plan.HasField("version"):
        raise NotFound(f"{KINDS['plans']} {plan.name!r} has no version yet")
    shards = tuple(tuple(shard.epochs) for shard in plan.shards)
    return FoundPlan(plan.name, plan.id, plan.version, plan.num_epochs, shards, plan.disk_bytes, plan.stale)
