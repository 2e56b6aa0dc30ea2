"""What is sampled, on the wire: edge types, fan-outs, options, seeds, and the minibatches of all epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from outcrop.errors import InvalidArgument
from outcrop.proto.tensors import from_tensor, to_tensor
from outcrop.types import AnyArray, EdgeSeeds, EdgeType, Fanouts, NodeSeeds, SamplerOptions, Seeds
from outcrop.v1 import sampling_pb2 as pb


def to_edge_type(edge_type: EdgeType) -> pb.EdgeType:
    """Return a message."""
    source, relation, destination = edge_type
    return pb.EdgeType(source=source, relation=relation, destination=destination)


def from_edge_type(edge_type: pb.EdgeType) -> EdgeType:
    """Return what `to_edge_type` was given."""
    return edge_type.source, edge_type.relation, edge_type.destination


def to_fanouts(fanouts: Fanouts) -> list[pb.HopFanouts]:
    """Return fan-outs of any form by hop. Raises InvalidArgument where edge types have unequal numbers of hops."""
    if isinstance(fanouts, Mapping):
        lengths = {len(counts) for counts in fanouts.values()}
        if len(lengths) != 1:
            raise InvalidArgument(f"fanouts: expected as many hops for every edge type, found {sorted(lengths)}")
        fanouts = [{name: counts[hop] for name, counts in fanouts.items()} for hop in range(*lengths)]
    hops: Sequence[Any] = fanouts
    return [_hop(number, hop) for number, hop in enumerate(hops)]


def from_fanouts(hops: Sequence[pb.HopFanouts]) -> Fanouts:
    """Return fan-outs as a sampler takes them. Raises InvalidArgument where some hops name edge types and some do
    not."""
    counted = [hop.HasField("count") for hop in hops]
    if all(counted):
        return [hop.count for hop in hops]
    if any(counted):
        raise InvalidArgument("fanouts: expected a count in every hop, or edge types in every hop; found both")
    return [{from_edge_type(each.edge_type): each.count for each in hop.by_edge_type} for hop in hops]


def to_options(sampling: Mapping[str, Any]) -> pb.SamplingOptions:
    """Return keyword arguments of `NeighborSampler` as a message. Raises TypeError for one that it has not,
    InvalidArgument for a seed outside [0, 2^64)."""
    options = SamplerOptions((), **sampling)
    fields = asdict(options)
    del fields["fanouts"]
    fields["seed"] = checked_number("seed", options.seed)
    for flag in ("replace", "weighted", "disjoint", "keep_edges"):
        fields[flag] = bool(fields[flag])
    for choice in ("labor", "temporal", "expand"):
        fields[choice] = str(fields[choice])
    return pb.SamplingOptions(**fields)


def from_options(options: pb.SamplingOptions) -> dict[str, Any]:
    """Return keyword arguments of `NeighborSampler`."""
    return {
        "seed": options.seed,
        "replace": options.replace,
        "weighted": options.weighted,
        "labor": options.labor or "off",
        "temporal": options.temporal or "off",
        "disjoint": options.disjoint,
        "expand": options.expand or "all",
        "keep_edges": options.keep_edges,
    }


def to_seeds(seeds: Any) -> pb.Seeds:
    """Return `NodeSeeds`, `EdgeSeeds`, or ids of the graph's only node type, as a message. Raises InvalidArgument."""
    if isinstance(seeds, EdgeSeeds):
        links = pb.EdgeSeeds(
            edge_type=to_edge_type(seeds.edge_type), negatives=seeds.negatives, pairs=to_tensor(seeds.pairs)
        )
        _set_times(links, seeds.times)
        return pb.Seeds(links=links)
    node_type = seeds.node_type if isinstance(seeds, NodeSeeds) else ""
    given = seeds if isinstance(seeds, NodeSeeds) else NodeSeeds(seeds)
    nodes = pb.NodeSeeds(node_type=node_type, ids=to_tensor(given.ids))
    _set_times(nodes, given.times)
    return pb.Seeds(nodes=nodes)


def from_seeds(seeds: pb.Seeds, uploaded: Mapping[str, AnyArray]) -> Seeds | AnyArray:
    """Return what `to_seeds` was given; ids as an array where the message names no node type.

    uploaded: arrays that came before, by name; they stand for those of the message. Raises InvalidArgument.
    """
    kind = seeds.WhichOneof("kind")
    if kind is None:
        raise InvalidArgument("seeds: expected nodes or links, found neither")
    times = uploaded.get("times")
    if kind == "links":
        links = seeds.links
        pairs = uploaded["pairs"] if "pairs" in uploaded else from_tensor(links.pairs, "links")
        times = from_tensor(links.times, "times") if links.HasField("times") else times
        return EdgeSeeds(pairs, from_edge_type(links.edge_type), links.negatives, times)
    nodes = seeds.nodes
    ids = uploaded["ids"] if "ids" in uploaded else from_tensor(nodes.ids, "seeds")
    times = from_tensor(nodes.times, "times") if nodes.HasField("times") else times
    if not nodes.node_type and times is None:
        return ids
    return NodeSeeds(ids, nodes.node_type, times) if nodes.node_type else NodeSeeds(ids, times=times)


def to_spec(
    graph: str,
    features: str | Mapping[str, str],
    seeds: Any,
    fanouts: Fanouts,
    batches: Mapping[str, Any],
    sampling: Mapping[str, Any],
) -> pb.MinibatchSpec:
    """Return the minibatches of all epochs as a message: arguments of `Database.create_plan`. Raises as that does."""
    tables = {"": features} if isinstance(features, str) else features
    if batches["batch_size"] < 1:
        raise InvalidArgument(f"batch_size: expected at least 1, found {batches['batch_size']}")
    return pb.MinibatchSpec(
        graph=graph,
        features=[pb.NodeFeatures(node_type=node_type, table=table) for node_type, table in tables.items()],
        fanouts=to_fanouts(fanouts),
        options=to_options(sampling),
        batch_size=batches["batch_size"],
        seed=checked_number("seed", batches["seed"]),
        shuffle=bool(batches["shuffle"]),
        drop_last=bool(batches["drop_last"]),
        seeds=to_seeds(seeds),
    )


def from_features(features: Sequence[pb.NodeFeatures]) -> str | dict[str, str]:
    """Return the name of the only table, or {node type: name}. Raises InvalidArgument for a node type named twice."""
    if len(features) == 1 and not features[0].node_type:
        return features[0].table
    named = {each.node_type: each.table for each in features}
    if len(named) < len(features):
        raise InvalidArgument(f"features: expected one table for each node type, found {list(map(str, features))}")
    return named


def checked_number(what: str, value: int) -> int:
    """Return a number that fits in 64 bits. Raises InvalidArgument."""
    if not 0 <= value < 2**64:
        raise InvalidArgument(f"{what}: expected one of [0, 2^64), found {value}")
    return int(value)


def _hop(number: int, hop: "int | Mapping[EdgeType, int]") -> pb.HopFanouts:
    if not isinstance(hop, Mapping):
        return pb.HopFanouts(count=_count(number, hop))
    named = [pb.EdgeFanout(edge_type=to_edge_type(name), count=_count(number, n)) for name, n in hop.items()]
    return pb.HopFanouts(by_edge_type=named)


def _count(number: int, count: int) -> int:
    if not -(2**31) <= count < 2**31:  # what fits in a message; the sampler knows what makes sense
        raise InvalidArgument(f"fanouts: hop {number}: expected -1 (all) or a count, found {count}")
    return int(count)


def _set_times(message: "pb.NodeSeeds | pb.EdgeSeeds", times: AnyArray | None) -> None:
    if times is not None:
        message.times.CopyFrom(to_tensor(np.asarray(times)))
