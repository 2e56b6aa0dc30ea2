"""A graph that a server holds."""

from typing import Any

from outcrop.client.opened import Opened
from outcrop.client.rpcs import graphs
from outcrop.client.rpcs.graphs import FoundGraph
from outcrop.errors import NotFound
from outcrop.stop import Stop, check, stop_of
from outcrop.types import EdgeType, Fanouts, GraphStatistics, Minibatch


class GraphFace:
    """What a graph is: the same for graphs that block and for those that are awaited."""

    _found: FoundGraph

    @property
    def node_types(self) -> dict[str, int]:
        """How many nodes there are of each type."""
        return self._found.node_types

    @property
    def disk_bytes(self) -> int:
        """Of all files of this version."""
        return self._found.disk_bytes

    @property
    def edge_types(self) -> list[EdgeType]:
        """All edge types, in the order of their import."""
        return list(self._found.edge_counts)

    def num_nodes(self, node_type: str | None = None) -> int:
        """Return how many nodes there are of a type, or altogether. Raises NotFound."""
        if node_type is None:
            return sum(self.node_types.values())
        if node_type not in self.node_types:
            raise NotFound(f"no node type {node_type!r}; the graph has {', '.join(self.node_types)}")
        return self.node_types[node_type]

    def num_edges(self, edge_type: EdgeType | None = None) -> int:
        """Return how many edges there are of a type, or altogether. Raises NotFound."""
        counts = self._found.edge_counts
        if edge_type is None:
            return sum(counts.values())
        if edge_type not in counts:
            raise NotFound(f"no edge type {edge_type}; the graph has {', '.join(map(str, counts))}")
        return counts[edge_type]


class Graph(GraphFace, Opened):
    """A version of a graph, whose edges stay with the server. For any number of threads."""

    _kind = "graph"

    def sample(
        self,
        seeds: Any,
        fanouts: Fanouts,
        *,
        epoch: int = 0,
        batch: int = 0,
        timeout: float | None = None,
        stop: Stop | None = None,
        **sampling: Any,
    ) -> Minibatch:
        """Draw one minibatch, without features. Arguments and errors: see `outcrop.gnn_loader.Graph.sample`."""
        self._check_open()
        feed = graphs.sample(self._found, seeds, fanouts, epoch, batch, sampling)
        stop = stop_of(self._channel.endpoint.timeout if timeout is None and stop is None else timeout, stop)
        check(stop)
        [received] = self._channel.stream(feed, stop=stop)
        return received.minibatch

    def statistics(self) -> GraphStatistics:
        """Return what the current version of the graph is, and how much of the server's memory it takes."""
        self._check_open()
        return self._channel.call(graphs.statistics(self.name))
