"""Draws minibatches: seeds, their in-neighbours, the neighbours' in-neighbours, hop by hop."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from outcrop import native
from outcrop.errors import InvalidArgument
from outcrop.gnn_loader.drawn_minibatch import drawn_minibatch
from outcrop.gnn_loader.seeds import SeedBatches
from outcrop.gnn_loader.topology import Topology
from outcrop.stop import Stop, words_of
from outcrop.types import (
    EdgeSeeds,
    EdgeType,
    Expand,
    Fanouts,
    Labor,
    Minibatch,
    NodeSeeds,
    SamplerOptions,
    SamplerStatistics,
    Seeds,
    Temporal,
    UInt32Array,
)


class NeighborSampler:
    """Draws minibatches from a graph. What it draws for a node depends on (seed, epoch, batch, hop, edge type, node)
    alone: minibatches can be drawn in any order, by any number of threads, and drawn again.

    May be used by any number of threads. The graph's arrays are kept, not copied.
    Raises InvalidArgument if the options do not fit the graph, and CorruptFile, while sampling, where the graph's
    arrays contradict themselves.
    """

    def __init__(
        self,
        graph: Topology,
        fanouts: Fanouts,
        *,
        seed: int = 0,
        replace: bool = False,
        weighted: bool = False,
        labor: Labor = "off",
        temporal: Temporal = "off",
        disjoint: bool = False,
        expand: Expand = "all",
        keep_edges: bool = False,
    ) -> None:
        """Build a sampler; `SamplerOptions` tells what each option means. Temporal trees are always disjoint."""
        options = sampler_options(
            graph,
            fanouts,
            seed=seed,
            replace=replace,
            weighted=weighted,
            labor=labor,
            temporal=temporal,
            disjoint=disjoint,
            expand=expand,
            keep_edges=keep_edges,
        )
        self._build(graph, options)

    @classmethod
    def of(cls, graph: Topology, options: SamplerOptions) -> "NeighborSampler":
        """Return a sampler with the options of another one: the same seeds draw the same minibatches."""
        sampler = cls.__new__(cls)
        sampler._build(graph, options)
        return sampler

    def _build(self, graph: Topology, options: SamplerOptions) -> None:
        self.graph = graph
        self.options = options
        self._node_types = tuple(graph.node_types)
        self._edge_types = tuple(graph.edge_types)
        self._core = native.Sampler(_view(graph, with_times=options.temporal != "off"), _native_options(options))

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds graph and options; whether the graph can be pickled is the graph's affair."""
        return NeighborSampler.of, (self.graph, self.options)

    @property
    def num_hops(self) -> int:
        """How many times neighbours are drawn."""
        return len(self.options.fanouts)

    def sample(self, seeds: Any, *, epoch: int = 0, batch: int = 0, stop: Stop | None = None) -> Minibatch:
        """Draw one minibatch. seeds: `NodeSeeds`, `EdgeSeeds`, or ids where the graph has one type of nodes.

        stop: a deadline, or a way to cancel the call from another thread. Raises InvalidArgument for ids that the graph
        does not have, DeadlineExceeded, Cancelled.
        """
        given = seeds if isinstance(seeds, NodeSeeds | EdgeSeeds) else NodeSeeds(seeds, self._only_node_type())
        everything = np.arange(len(given), dtype=np.uint32)
        return self.minibatch(self.draw(given, [everything], epoch=epoch, first_batch=batch, stop=stop)[0])

    def sample_many(
        self,
        batches: SeedBatches,
        *,
        epoch: int = 0,
        first_batch: int = 0,
        count: int | None = None,
        threads: int = 1,
        stop: Stop | None = None,
    ) -> Iterator[Minibatch]:
        """Yield minibatches first_batch, first_batch + 1, ... of an epoch, a few at a time in parallel.

        The same for any number of threads. count: None goes to the end of the epoch. stop: as `sample` has it.
        """
        _check_number("threads", threads, least=1)
        _check_number("first_batch", first_batch)
        _check_number("count", 0 if count is None else count)
        positions = list(batches.epoch(epoch))[first_batch : None if count is None else first_batch + count]
        for start in range(0, len(positions), 2 * threads):
            some = positions[start : start + 2 * threads]
            first = first_batch + start
            for drawn in self.draw(batches.seeds, some, epoch=epoch, first_batch=first, threads=threads, stop=stop):
                yield self.minibatch(drawn)

    def draw(
        self,
        seeds: Seeds,
        positions: Sequence[UInt32Array],
        *,
        epoch: int,
        first_batch: int,
        threads: int = 1,
        stop: Stop | None = None,
    ) -> list[native.SampledMinibatch]:
        """Draw minibatch first_batch + i from the seeds at positions[i], all of them at once, as the core keeps them.

        For those who go on in the core; `minibatch` shows one. The interpreter lock is released.
        """
        for what, number in (("epoch", epoch), ("first_batch", first_batch)):
            _check_number(what, number)
        _check_number("threads", threads, least=1)
        offsets = np.cumsum([0, *(len(some) for some in positions)], dtype=np.uint64)
        rows = np.concatenate(positions) if positions else np.zeros(0, np.uint32)
        src_type, dst_type = _ends(seeds)
        ids = seeds.ids if isinstance(seeds, NodeSeeds) else seeds.pairs
        return self._core.sample_batches(
            np.ascontiguousarray(ids[rows]).reshape(-1),
            offsets,
            None if seeds.times is None else seeds.times[rows],
            epoch=epoch,
            first_batch=first_batch,
            type=self._type_number(dst_type),
            link_src_type=None if src_type is None else self._type_number(src_type),
            negatives=0 if isinstance(seeds, NodeSeeds) else seeds.negatives,
            num_threads=threads,
            stop=words_of(stop),
        )

    def minibatch(self, drawn: native.SampledMinibatch) -> Minibatch:
        """Return views of what `draw` returned."""
        return drawn_minibatch(drawn, self._node_types, self._edge_types)

    def statistics(self) -> SamplerStatistics:
        """Return what was drawn since the sampler was built."""
        return SamplerStatistics(*self._core.statistics())

    def release(self) -> None:
        """Give back the memory that is kept for the next minibatches, which will make it anew."""
        self._core.release()

    def _only_node_type(self) -> str:
        if len(self._node_types) != 1:
            raise InvalidArgument(f"seeds: the graph has node types {self._node_types}: pass NodeSeeds(ids, type)")
        return self._node_types[0]

    def _type_number(self, name: str) -> int:
        if name not in self._node_types:
            raise InvalidArgument(f"seeds: expected a node type among {self._node_types}, found {name!r}")
        return self._node_types.index(name)


def sampler_options(graph: Topology, fanouts: Fanouts, **others: Any) -> SamplerOptions:
    """Return the options of a sampler of this graph. others: fields of `SamplerOptions`. Raises InvalidArgument."""
    options = SamplerOptions(_fanouts_by_hop(fanouts, graph.edge_types), **others)
    return options if options.temporal == "off" else dataclasses.replace(options, disjoint=True)


def _ends(seeds: Seeds) -> tuple[str | None, str]:
    """The node types of a link's source and destination; of nodes, None and their type."""
    if isinstance(seeds, NodeSeeds):
        return None, seeds.node_type
    return seeds.edge_type[0], seeds.edge_type[2]


def _check_number(what: str, value: int, least: int = 0) -> None:
    if not least <= value < 2**64:
        raise InvalidArgument(f"{what}: expected one of [{least}, 2^64), found {value}")


def _fanouts_by_hop(fanouts: Fanouts, edge_types: Sequence[EdgeType]) -> tuple[tuple[int, ...], ...]:
    """Fan-outs as [hop][edge type]."""
    if isinstance(fanouts, Mapping):
        lengths = {len(counts) for counts in fanouts.values()}
        if len(lengths) != 1:
            raise InvalidArgument(f"fanouts: expected as many hops for every edge type, found {sorted(lengths)}")
        hops: Sequence[Any] = [{name: counts[hop] for name, counts in fanouts.items()} for hop in range(*lengths)]
    else:
        hops = fanouts
    by_hop = [hop if isinstance(hop, Mapping) else dict.fromkeys(edge_types, hop) for hop in hops]
    unknown = {name for hop in by_hop for name in hop} - set(edge_types)
    if unknown:
        raise InvalidArgument(f"fanouts: expected edge types among {list(edge_types)}, found {sorted(unknown)}")
    for number, hop in enumerate(by_hop):
        for name, count in hop.items():
            if not -1 <= count < 2**31:
                raise InvalidArgument(f"fanouts: hop {number}, {name}: expected -1 (all) or a count, found {count}")
    return tuple(tuple(int(hop.get(name, 0)) for name in edge_types) for hop in by_hop)


def _native_options(options: SamplerOptions) -> native.SamplerOptions:
    _check_number("seed", options.seed)
    core = native.SamplerOptions()
    core.fanouts = [list(hop) for hop in options.fanouts]
    core.seed = options.seed
    core.replace = options.replace
    core.weighted = options.weighted
    core.labor = _choice("labor", options.labor, native.Labor)
    core.temporal = _choice("temporal", options.temporal, native.Temporal)
    core.disjoint = options.disjoint
    core.expand = _choice("expand", options.expand, native.Expand)
    core.keep_edges = options.keep_edges
    return core


def _choice(what: str, name: str, choices: Any) -> Any:
    names = [choice.name for choice in choices]
    if name not in names:
        raise InvalidArgument(f"{what}: expected one of {names}, found {name!r}")
    return choices[name]


def _view(graph: Topology, with_times: bool) -> native.GraphView:
    """The arrays of the graph for the core, which keeps them alive."""
    names = list(graph.node_types)
    view = native.GraphView(list(graph.node_types.values()))
    for edge_type in graph.edge_types:
        src_type, relation, dst_type = edge_type
        arrays = graph.csc(edge_type)
        times = arrays.times if with_times else None
        view.add_edge_type(
            f"{src_type}-{relation}-{dst_type}",
            names.index(src_type),
            names.index(dst_type),
            arrays.indptr,
            arrays.indices,
            arrays.weights,
            times,
            times is not None and graph.times_ascend(edge_type),
        )
    for number, name in enumerate(names) if with_times else []:
        node_times = graph.node_times(name)
        if node_times is not None:
            view.set_node_times(number, node_times)
    return view
