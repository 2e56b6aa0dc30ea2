"""Loaders of the engine as streams of messages: of a plan, sampled online, or with a plan made anew for each epoch.

Each is a blocking generator for `Call.each`: a loader holds `slots` minibatches at most, and the messages of a few
chunks are made ahead of what is sent.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from google.protobuf.message import Message

from outcrop.errors import InvalidArgument, Unavailable
from outcrop.gnn_loader import (
    FreshLoader,
    FreshSource,
    Graph,
    NeighborSampler,
    OnlineLoader,
    OnlineOptions,
    Plan,
    PlannedLoader,
    PlanOptions,
    PlanTable,
    SeedBatches,
)
from outcrop.plans import as_seeds, tables_by_type
from outcrop.proto.documents import to_document
from outcrop.proto.minibatches import minibatch_messages
from outcrop.proto.sampling import from_fanouts, from_features, from_options, from_seeds
from outcrop.server.engine import Engine
from outcrop.server.loader_meter import LoaderMeter
from outcrop.server.opened import OpenedObjects
from outcrop.server.sampling_limits import check_ahead, most_sampled_bytes, num_ends
from outcrop.stop import Stop
from outcrop.types import AnyArray
from outcrop.v1 import plan_pb2 as pb
from outcrop.v1 import sampling_pb2

Loader = PlannedLoader | OnlineLoader | FreshLoader

_DEFAULT_SLOTS = 3
_GROUP_CHUNKS = 4
# Of a planned loader beside its cache and its slots: blocks that are not read in place, tables of checksums.
_OVERHEAD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What minibatches are drawn from, open as long as the stack. tables: by node type."""

    graph_name: str
    graph: Graph
    tables: dict[str, PlanTable]
    sampler: NeighborSampler
    batches: SeedBatches


def open_source(
    opened: OpenedObjects,
    spec: sampling_pb2.MinibatchSpec,
    uploaded: Mapping[str, AnyArray],
    stack: contextlib.ExitStack,
) -> Source:
    """Open the graph and the tables of a message. Raises InvalidArgument, NotFound, ResourceExhausted."""
    graph = stack.enter_context(opened.graph(spec.graph))
    opener = lambda name: stack.enter_context(opened.table(name))  # noqa: E731
    tables = tables_by_type(graph, from_features(spec.features), opener)
    seeds = as_seeds(from_seeds(spec.seeds, uploaded), graph)
    batches, fanouts, sampling = batches_of(spec), from_fanouts(spec.fanouts), from_options(spec.options)
    ends = num_ends(seeds, most=spec.batch_size)  # of one minibatch; how many are ahead of it is bounded too
    stack.enter_context(opened.reserve("drawn minibatches", most_sampled_bytes(graph, ends, fanouts, sampling)))
    sampler = NeighborSampler(graph, fanouts, **sampling)
    return Source(spec.graph, graph, tables, sampler, SeedBatches(seeds, **batches))


def planned(engine: Engine, request: pb.StreamMinibatchesRequest, stop: Stop) -> Iterator[list[bytes]]:
    """Yield the messages of a plan's minibatches, in groups."""
    source = request.plan
    check_ahead(request.position, slots=request.slots)
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(_open_plan(engine, source))
        if request.without_features:
            minibatches = itertools.islice(plan.minibatches(source.shard), request.position, _end(request))
            for position, minibatch in enumerate(minibatches, request.position):
                stop.check()
                yield from _groups(minibatch_messages(pb.StreamMinibatchesResponse, minibatch, position + 1))
            return
        loader = stack.enter_context(
            plan.loader(
                shard=source.shard,
                memory=source.memory_bytes or None,
                slots=request.slots or _DEFAULT_SLOTS,
                decode=not request.coded,
            )
        )
        held = stack.enter_context(engine.opened.reserve(f"loader of plan {plan.name}", planned_bytes(loader)))
        loader.load_state_dict(loader.state_dict() | {"position": request.position})
        if _end(request) == request.position:
            return
        meter = LoaderMeter(engine.metrics, "plans", plan.name)
        for number, groups in enumerate(_streamed(pb.StreamMinibatchesResponse, loader, _end(request), stop, meter)):
            if number == 0:
                held.resize(min(held.size_bytes, loader.statistics().memory_bytes))
            yield groups


def online(engine: Engine, request: pb.StreamMinibatchesRequest, stop: Stop) -> Iterator[list[bytes]]:
    """Yield the messages of minibatches that are sampled as they go, in groups."""
    given = request.online
    check_ahead(
        request.position,
        slots=request.slots,
        window=given.window,
        num_sampled=given.num_sampled,
        longest_group=given.longest_group,
    )
    if request.coded or request.without_features:
        raise InvalidArgument("online: expected decoded features; coded and without_features are for plans")
    if upload_of(request.online.minibatches):
        raise InvalidArgument("online: expected seeds in the message; only plans take them from an upload")
    with contextlib.ExitStack() as stack:
        source = open_source(engine.opened, request.online.minibatches, {}, stack)
        stack.enter_context(engine.opened.reserve("online loader", request.online.cache_bytes))
        loader = OnlineLoader(
            source.sampler,
            source.batches,
            {each.name: each.table for each in source.tables.values()},
            node_types={each.name: node_type for node_type, each in source.tables.items()},
            options=_online_options(engine, request),
        )
        stack.enter_context(loader)
        loader.load_state_dict({"position": request.position})
        if len(loader):
            meter = LoaderMeter(engine.metrics, "graphs", source.graph_name)
            yield from _streamed(pb.StreamMinibatchesResponse, loader, _end(request), stop, meter)


class FreshStreams:
    """Minibatches of plans that are made as they go. A plan's name belongs to one stream at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def stream(
        self, request: pb.StreamFreshMinibatchesRequest, uploaded: Mapping[str, AnyArray], stop: Stop
    ) -> Iterator[list[bytes]]:
        """Yield the messages of a stream, in groups."""
        engine, connection = self._engine, self._engine.database.connection
        check_ahead(request.position, slots=request.slots)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._named(request.name))
            source = open_source(engine.opened, request.minibatches, uploaded, stack)
            stack.enter_context(engine.opened.reserve("fresh loader", request.cache_bytes + request.pack_bytes))
            options = PlanOptions(
                cache_bytes=request.cache_bytes,
                pack_bytes=request.pack_bytes,
                disk_bytes=request.disk_bytes if request.HasField("disk_bytes") else None,
                threads=connection.threads,
            )
            made_of = FreshSource(source.graph_name, source.graph, source.tables, source.sampler, source.batches)
            loader = FreshLoader(
                connection.root,
                request.name,
                made_of,
                options,
                num_epochs=request.epochs if request.HasField("epochs") else None,
                slots=request.slots or _DEFAULT_SLOTS,
                reader=connection.reader,
            )
            stack.enter_context(loader)
            loader.load_state_dict({"position": request.position})
            end = request.epochs * len(loader) if request.HasField("epochs") else None
            if len(loader):
                # Counted for the graph: plans that live as long as a stream have names without end.
                meter = LoaderMeter(engine.metrics, "graphs", source.graph_name)
                yield from _streamed(pb.StreamFreshMinibatchesResponse, loader, end, stop, meter)

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._names:
                raise Unavailable(f"plan {name!r}: another stream makes its epochs; wait for its end, or take a name")
            self._names.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._names.discard(name)


def batches_of(spec: sampling_pb2.MinibatchSpec) -> dict[str, Any]:
    """Return arguments of `SeedBatches`."""
    return {
        "batch_size": spec.batch_size,
        "seed": spec.seed,
        "shuffle": spec.shuffle,
        "drop_last": spec.drop_last,
    }


def upload_of(spec: sampling_pb2.MinibatchSpec) -> str:
    """Return the id of the upload that holds the seeds; "" when they came with the message."""
    return spec.seeds.nodes.upload_id or spec.seeds.links.upload_id


def planned_bytes(loader: PlannedLoader) -> int:
    """Return what a planned loader will take, or a little more."""
    streams = loader.plan.streams
    cached = sum(stream.num_slots * stream.codec.row_bytes for stream in streams)
    rows = sum(
        stream.max_rows * max(stream.codec.row_bytes, prod(stream.codec.row_shape) * stream.codec.dtype.itemsize)
        for stream in streams
    )
    return cached + loader.slots * rows + _OVERHEAD_BYTES


def _open_plan(engine: Engine, source: pb.PlanSource) -> Plan:
    record = engine.opened.record("plans", source.name, source.id)
    connection = engine.database.connection
    lease = connection.root.open_version(record.id, source.version or None)
    with contextlib.ExitStack() as undo:
        undo.enter_context(lease)
        plan = Plan(connection.root, source.name, lease, connection.reader)
        undo.pop_all()
    return plan


def _end(request: pb.StreamMinibatchesRequest) -> int | None:
    return request.position + request.count if request.HasField("count") else None


def _online_options(engine: Engine, request: pb.StreamMinibatchesRequest) -> OnlineOptions:
    given, folder = request.online, engine.database.connection.root.path
    scores: Any = given.scores or "sampled"
    return OnlineOptions(
        given.cache_bytes,
        window=given.window,
        scores=scores,
        num_sampled=given.num_sampled,
        victim_memory=given.victim_bytes if given.HasField("victim_bytes") else None,
        victim_disk=given.victim_disk_bytes if given.HasField("victim_disk_bytes") else None,
        scratch_folder=folder if os.access(folder, os.W_OK) else None,
        longest_group=given.longest_group,
        slots=request.slots or _DEFAULT_SLOTS,
        reader=engine.settings.reader,
    )


def _streamed(
    response: type[Message], loader: Loader, end: int | None, stop: Stop, meter: LoaderMeter
) -> Iterator[list[bytes]]:
    """Yield the messages of a loader's minibatches up to a position; None has no end."""
    while end is None or loader.position < end:
        minibatch, statistics = loader.next_minibatch(stop=stop), loader.statistics()
        meter.look(statistics)
        messages = minibatch_messages(response, minibatch, loader.position, statistics=to_document(statistics))
        yield from _groups(messages)
        del minibatch, messages  # with them goes the last hold on the loader's buffer


def _groups(messages: Iterator[bytes]) -> Iterator[list[bytes]]:
    while group := list(itertools.islice(messages, _GROUP_CHUNKS)):
        yield group
