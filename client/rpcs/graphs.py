"""Graphs: what they are, and minibatches drawn from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from outcrop.client.rpc import Rpc
from outcrop.client.rpcs.minibatches import MinibatchFeed
from outcrop.errors import NotFound
from outcrop.proto.documents import from_document
from outcrop.proto.sampling import checked_number, from_edge_type, to_fanouts, to_options, to_seeds
from outcrop.types import KINDS, EdgeType, Fanouts, GraphStatistics
from outcrop.v1 import graph_pb2 as pb


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
