"""Graphs: what they are, and minibatches drawn from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from outcrop.client.rpc import Rpc
from outcrop.client.rpcs.minibatches import MinibatchFeed
from outcrop.errors import NotFound
from outcrop.proto.documents import from_document
from outcrop.proto.sampling import checked_number, from_edge_type, to_edge_type, to_fanouts, to_options, to_seeds
from outcrop.types import KINDS, EdgeType, Fanouts, GraphStatistics
from outcrop.v1 import graph_pb2 as pb
from outcrop.v1.job_pb2 import Job


@dataclass(frozen=True, slots=True)
class FoundGraph:
    """A version of a graph, as the server tells it; see `Graph`."""

    name: str
    id: str
    version: int
    node_types: dict[str, int]
    edge_counts: dict[EdgeType, int]
    disk_bytes: int


def get(name: str) -> Rpc[FoundGraph]:
    """Find a graph by its name; `read` raises NotFound before its first import has ended."""
    return Rpc(pb.GetGraphRequest(name=name), lambda response: _found(response.graph))


def names() -> Rpc[list[str]]:
    """List all that the key may see."""
    return Rpc(pb.ListGraphsRequest(), lambda response: [graph.name for graph in response.graphs])


def drop(name: str) -> Rpc[None]:
    """Remove a graph."""
    return Rpc(pb.DeleteGraphRequest(name=name), lambda _: None)


def statistics(name: str) -> Rpc[GraphStatistics]:
    """Ask for degrees and columns."""
    return Rpc(
        pb.GetGraphStatisticsRequest(name=name),
        lambda response: from_document(response.statistics, GraphStatistics),
    )


def sample(
    graph: FoundGraph, seeds: Any, fanouts: Fanouts, epoch: int, batch: int, sampling: Mapping[str, Any]
) -> MinibatchFeed:
    """Draw one minibatch."""
    request = pb.SampleNeighborsRequest(
        graph=graph.name,
        id=graph.id,
        version=graph.version,
        fanouts=to_fanouts(fanouts),
        options=to_options(sampling),
        epoch=checked_number("epoch", epoch),
        batch=checked_number("first_batch", batch),
        seeds=to_seeds(seeds),
    )
    return MinibatchFeed(request, count=1)


def import_request(
    name: str,
    node_counts: Mapping[str, int],
    edges: Sequence[tuple[EdgeType, str, bool]],
    node_times: Iterable[str],
    upload_id: str,
    memory_bytes: int,
) -> pb.ImportGraphRequest:
    """Return what stores uploaded edges. edges: of each type, the prefix of its arrays, and whether they are sorted by
    destination."""
    return pb.ImportGraphRequest(
        name=name,
        upload_id=upload_id,
        node_types=[pb.NodeType(name=node_type, num_nodes=count) for node_type, count in node_counts.items()],
        edges=[
            pb.UploadedEdges(edge_type=to_edge_type(edge_type), prefix=prefix, csc=csc)
            for edge_type, prefix, csc in edges
        ],
        node_times=list(node_times),
        memory_bytes=memory_bytes,
    )


def import_graph(request: pb.ImportGraphRequest, job_id: str) -> Rpc[Job]:
    """Store uploaded edges."""
    request.job_id = job_id
    return Rpc(request, lambda response: response.job)


def _found(graph: pb.Graph) -> FoundGraph:
    if not graph.HasField("version"):
        raise NotFound(f"{KINDS['graphs']} {graph.name!r} has no version yet")
    return FoundGraph(
        graph.name,
        graph.id,
        graph.version,
        {each.name: each.num_nodes for each in graph.node_types},
        {from_edge_type(each.edge_type): each.num_edges for each in graph.edge_types},
        graph.disk_bytes,
    )
