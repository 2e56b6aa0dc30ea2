"""GraphService: graphs, and neighbours drawn from them."""

from collections.abc import AsyncIterator, Iterator

from outcrop.gnn_loader import ArrayEdges, CscEdgeArrays, GraphArrays
from outcrop.proto.documents import to_document
from outcrop.proto.minibatches import minibatch_messages
from outcrop.proto.sampling import from_edge_type, from_fanouts, from_options, from_seeds, to_edge_type
from outcrop.server.call import Call
from outcrop.server.engine import Engine
from outcrop.server.jobs import Jobs
from outcrop.server.sampling_limits import most_sampled_bytes, num_ends
from outcrop.server.uploads import Upload
from outcrop.server.work import Work, budget
from outcrop.stop import Stop
from outcrop.store import Manifest, ObjectRecord
from outcrop.types import KINDS, AnyArray, CscArrays, EdgeSource, GraphStatistics, check_name
from outcrop.v1 import graph_pb2 as pb


class GraphService:
    """See proto/outcrop/v1/graph.proto."""

    def __init__(self, engine: Engine, jobs: Jobs) -> None:
        self._engine, self._jobs = engine, jobs
        jobs.register("import_graph", pb.ImportGraphRequest, self._import)

    async def import_graph(self, request: pb.ImportGraphRequest, call: Call) -> pb.ImportGraphResponse:
        """Make a job of storing an uploaded graph."""
        job = await self._jobs.submit(request, call, lambda: self._check(request))
        return pb.ImportGraphResponse(job=job)

    async def get_graph(self, request: pb.GetGraphRequest, call: Call) -> pb.GetGraphResponse:
        """Return what a graph is."""
        return pb.GetGraphResponse(graph=await call.run(self._described, request.name))

    async def list_graphs(self, request: pb.ListGraphsRequest, call: Call) -> pb.ListGraphsResponse:
        """Return those that the caller may see, by name."""
        names = await call.run(self._engine.database.graph_names)
        seen = [name for name in names if call.identity.sees("graphs", name)]
        return pb.ListGraphsResponse(graphs=await call.run(lambda: list(map(self._described, seen))))

    async def delete_graph(self, request: pb.DeleteGraphRequest, call: Call) -> pb.DeleteGraphResponse:
        """Drop a graph."""
        await call.run(self._engine.drop, "graphs", request.name)
        return pb.DeleteGraphResponse()

    async def get_graph_statistics(
        self, request: pb.GetGraphStatisticsRequest, call: Call
    ) -> pb.GetGraphStatisticsResponse:
        """Return degrees and columns of each edge type."""
        statistics = await call.run(self._statistics, request.name)
        return pb.GetGraphStatisticsResponse(statistics=to_document(statistics))

    async def sample_neighbors(self, request: pb.SampleNeighborsRequest, call: Call) -> AsyncIterator[bytes]:
        """Yield one minibatch without features."""
        async for message in call.each(self._sampled(request, call.stop)):
            yield message

    def _check(self, request: pb.ImportGraphRequest) -> None:
        check_name(KINDS["graphs"], request.name)
        budget(self._engine.settings.jobs, request.memory_bytes)

    def _import(self, request: pb.ImportGraphRequest, work: Work) -> Manifest:
        graph = _uploaded_graph(request, work.upload(request.upload_id))
        memory = work.memory_bytes(request.memory_bytes)
        return work.follow(self._engine.database.import_graph(request.name, graph, memory=memory))

    def _described(self, name: str) -> pb.Graph:
        record = self._engine.opened.record("graphs", name)
        return _message(record, self._engine.manifest(record))

    def _statistics(self, name: str) -> GraphStatistics:
        with self._engine.opened.graph(name) as graph:
            return graph.statistics()

    def _sampled(self, request: pb.SampleNeighborsRequest, stop: Stop) -> Iterator[bytes]:
        version = request.version if request.HasField("version") else None
        opened = self._engine.opened
        seeds, fanouts = from_seeds(request.seeds, {}), from_fanouts(request.fanouts)
        sampling = from_options(request.options)
        with (
            opened.graph(request.graph, request.id, version) as graph,
            opened.reserve("a drawn minibatch", most_sampled_bytes(graph, num_ends(seeds), fanouts, sampling)),
        ):
            minibatch = graph.sample(seeds, fanouts, epoch=request.epoch, batch=request.batch, stop=stop, **sampling)
            yield from minibatch_messages(pb.SampleNeighborsResponse, minibatch)


def _uploaded_graph(request: pb.ImportGraphRequest, upload: Upload) -> GraphArrays:
    return GraphArrays(
        {each.name: each.num_nodes for each in request.node_types},
        {from_edge_type(each.edge_type): _uploaded_edges(each, upload) for each in request.edges},
        {name: upload.array(f"node_times.{name}") for name in request.node_times} or None,
    )


def _uploaded_edges(edges: pb.UploadedEdges, upload: Upload) -> EdgeSource:
    """Arrays of an edge type; what was not uploaded, the edges do not have."""

    def column(name: str) -> AnyArray | None:
        full = f"{edges.prefix}.{name}"
        return upload.array(full) if full in upload.arrays else None

    optional = (column("weights"), column("times"), column("edge_ids"))
    if edges.csc:
        ends = upload.array(f"{edges.prefix}.indptr"), upload.array(f"{edges.prefix}.indices")
        return CscEdgeArrays(CscArrays(*ends, *optional))
    return ArrayEdges(upload.array(f"{edges.prefix}.src"), upload.array(f"{edges.prefix}.dst"), *optional)


def _message(record: ObjectRecord, manifest: Manifest | None) -> pb.Graph:
    if manifest is None:
        return pb.Graph(name=record.name, id=record.id)
    node_types, edge_types = manifest.properties["node_types"], manifest.properties["edge_types"]
    return pb.Graph(
        name=record.name,
        version=manifest.version,
        node_types=[pb.NodeType(name=name, num_nodes=count) for name, count in node_types],
        edge_types=[
            pb.StoredEdgeType(
                edge_type=to_edge_type(layout["edge_type"]),
                num_edges=layout["num_edges"],
                weights=layout["weights"],
                times=layout["times"],
                edge_ids=layout["edge_ids"],
            )
            for layout in edge_types
        ],
        disk_bytes=manifest.size_bytes,
        id=record.id,
    )
