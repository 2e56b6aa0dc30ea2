"""The part of a database that is about graphs: tables, plans and loaders."""

from collections.abc import Mapping
from typing import Any

from outcrop.client import importing
from outcrop.client.channel import Channel
from outcrop.client.features import FeatureTable
from outcrop.client.graph import Graph
from outcrop.client.job import RemoteJob
from outcrop.client.loader import FreshLoader, OnlineLoader
from outcrop.client.plan import Plan, check_threads
from outcrop.client.rpcs import features as feature_rpcs
from outcrop.client.rpcs import graphs, plans
from outcrop.client.script import run
from outcrop.client.sequences import batches_per_epoch
from outcrop.errors import InvalidArgument
from outcrop.proto.sampling import to_spec
from outcrop.types import (
    KINDS,
    EdgeSeeds,
    Fanouts,
    Manifest,
    NodeSeeds,
    OnlineOptions,
    as_graph_source,
    as_row_source,
    check_name,
    parse_budget,
    parse_bytes,
)

IMPORT_MEMORY = "256MiB"


class GraphDatabase:
    """Graphs, feature tables, plans and loaders of a server's root."""

    _channel: Channel

    def import_graph(
        self, name: str, source: Any, *, num_nodes: int | None = None, memory: str | int = IMPORT_MEMORY
    ) -> RemoteJob[Manifest]:
        """As embedded: the edges are uploaded, then the server sorts and stores them, with at most the memory that it
        grants. An upload or an import that broke off, even with this process, goes on when it is called again with the
        same arguments, if the source says what it is (arrays and files do)."""
        check_name(KINDS["graphs"], name)
        graph, memory_bytes = as_graph_source(source, num_nodes), parse_bytes(memory)
        script = lambda control: importing.import_graph(name, graph, memory_bytes, control)  # noqa: E731
        return RemoteJob(f"import of {name}", self._channel, script)

    def import_features(
        self, name: str, source: Any, *, codec: str = "raw", memory: str | int = IMPORT_MEMORY
    ) -> RemoteJob[Manifest]:
        """As embedded; the rows are uploaded, as `import_graph` does."""
        check_name(KINDS["features"], name)
        rows, memory_bytes = as_row_source(source), parse_bytes(memory)
        script = lambda control: importing.import_features(name, rows, codec, memory_bytes, control)  # noqa: E731
        return RemoteJob(f"import of {name}", self._channel, script)

    def create_plan(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int = 1,
        first_epoch: int = 0,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        num_shards: int = 1,
        replayed: bool = True,
        **sampling: Any,
    ) -> RemoteJob[Manifest]:
        """As embedded: what is wrong with the arguments is raised before any work, and a plan that broke off goes on
        when it is called again with the same arguments."""
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        check_shards(num_shards, num_batches(seeds, batches))
        request = plans.create_request(
            name,
            made_of,
            (first_epoch, epochs),
            cache_bytes=parse_budget(cache_memory),
            pack_bytes=parse_bytes(pack_memory),
            disk_bytes=None if disk is None else parse_bytes(disk),
            num_shards=num_shards,
            replayed=replayed,
        )
        if uploaded := importing.seed_arrays(request):
            script = lambda control: importing.create_plan(request, uploaded, control)  # noqa: E731
            return RemoteJob(f"plan {name}", self._channel, script)
        job_id = run(importing.begin_plan(request), self._channel)
        return RemoteJob(f"plan {name}", self._channel, lambda control: importing.follow(job_id, control))

    def graph(self, name: str, *, memory: str | int | None = None, placement: str = "auto") -> Graph:
        """Return the current version of a graph.

        memory, placement: of an embedded graph; a server decides for all its callers. Raises NotFound.
        """
        return Graph(self._channel, self._channel.call(graphs.get(name)))

    def graph_names(self) -> list[str]:
        """Return the names of all graphs that the key may see, sorted; also of one whose first import has not ended."""
        return self._channel.call(graphs.names())

    def drop_graph(self, name: str) -> None:
        """Remove a graph; calls under way end as they began. Raises NotFound."""
        self._channel.call(graphs.drop(name))

    def features(self, name: str, *, memory: str | int | None = None) -> FeatureTable:
        """Return the current version of a feature table.

        memory: of an embedded table; a server decides for all its callers. Raises NotFound.
        """
        return FeatureTable(self._channel, self._channel.call(feature_rpcs.get(name)))

    def feature_names(self) -> list[str]:
        """Return the names of all feature tables that the key may see, sorted; also of one whose first import has not
        ended."""
        return self._channel.call(feature_rpcs.names())

    def drop_features(self, name: str) -> None:
        """Remove a feature table; calls under way end as they began. Raises NotFound."""
        self._channel.call(feature_rpcs.drop(name))

    def plan(self, name: str) -> Plan:
        """Return the current version of a plan.

        Raises NotFound, CorruptFile, and InvalidArgument when the graph or a table has changed since it was made.
        """
        found = self._channel.call(plans.get(name))
        if found.stale:
            raise InvalidArgument(found.stale)
        return Plan(self._channel, found)

    def plan_names(self) -> list[str]:
        """Return the names of all plans that the key may see, sorted."""
        return self._channel.call(plans.names())

    def drop_plan(self, name: str) -> None:
        """Remove a plan; streams of it end as they began. Raises NotFound."""
        self._channel.call(plans.drop(name))

    def online_loader(
        self,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        options: OnlineOptions,
        batch_size: int = 1024,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        **sampling: Any,
    ) -> OnlineLoader:
        """Return a loader that makes no plan: the server samples a few minibatches ahead.

        options: memory, window and tiers of the server; its scratch file lies in its root, and it chooses threads and
        reader. Others as `create_plan` has them. Raises InvalidArgument; NotFound and ResourceExhausted come with the
        first minibatch.
        """
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        return OnlineLoader(self._channel, plans.online(made_of, options), num_batches(seeds, batches))

    def fresh_loader(
        self,
        name: str,
        *,
        graph: str,
        features: str | Mapping[str, str],
        seeds: Any,
        fanouts: Fanouts,
        batch_size: int = 1024,
        epochs: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        cache_memory: str | int = "256MiB",
        pack_memory: str | int = "256MiB",
        disk: str | int | None = None,
        slots: int = 3,
        threads: int = 1,
        **sampling: Any,
    ) -> FreshLoader:
        """Return a loader for which the server plans each epoch while the one before it trains.

        name: of the plan, which is replaced from epoch to epoch and removed at the end; one loader at a time may have
        it. threads: a server has its own. Others as `outcrop.embedded.Database.fresh_loader` has them. Raises
        InvalidArgument; NotFound and ResourceExhausted come with the first minibatch.
        """
        batches = {"batch_size": batch_size, "seed": seed, "shuffle": shuffle, "drop_last": drop_last}
        made_of = to_spec(graph, features, seeds, fanouts, batches, {"seed": seed, **sampling})
        check_threads(threads)
        request = plans.fresh(name, made_of, epochs, cache_memory, pack_memory, disk, slots)
        return FreshLoader(self._channel, request, name, num_batches(seeds, batches), epochs)


def num_batches(seeds: Any, batches: Mapping[str, Any]) -> int:
    """Return how many minibatches an epoch has, of seeds of any form. Raises InvalidArgument."""
    num_seeds = len(seeds if isinstance(seeds, NodeSeeds | EdgeSeeds) else NodeSeeds(seeds))
    return batches_per_epoch(num_seeds, batches["batch_size"], batches["drop_last"])


def check_shards(num_shards: int, num_batches: int) -> None:
    """Raise InvalidArgument as embedded: a message has room for sensible numbers only."""
    if not 1 <= num_shards <= max(1, num_batches):
        raise InvalidArgument(
            f"num_shards: expected 1 to {num_batches}, the minibatches of an epoch; found {num_shards}"
        )
