"""What every sampled minibatch must be, whatever was drawn: checked with NumPy against the graph."""

from itertools import pairwise

import numpy as np

from outcrop.gnn_loader.sampler import NeighborSampler
from outcrop.gnn_loader.topology import ArrayGraph
from outcrop.types import CscArrays, EdgeType, Minibatch, SampledLayer

CITES: EdgeType = ("paper", "cites", "paper")
WRITES: EdgeType = ("author", "writes", "paper")
WRITTEN_BY: EdgeType = ("paper", "written_by", "author")


def random_csc(num_src: int, num_dst: int, seed: int, most: int = 9, times: bool = False) -> CscArrays:
    """In-degrees of 0 to `most`, some nodes alone, one with a hundred in-edges; distinct sources within a column."""
    rng = np.random.default_rng(seed)
    degrees = np.minimum(rng.integers(0, most + 1, num_dst), num_src)
    degrees[num_dst // 2] = min(100, num_src)
    columns = [np.sort(rng.choice(num_src, degree, replace=False)) for degree in degrees]
    indptr = np.concatenate([[0], np.cumsum(degrees)])
    weights = rng.integers(0, 4, indptr[-1]).astype(np.float32)
    stamps = rng.integers(0, 50, indptr[-1]) if times else None
    return CscArrays(indptr, np.concatenate(columns), weights, stamps)


def paper_graph(seed: int, times: bool = False) -> ArrayGraph:
    papers, authors = 300, 80
    edges = {
        CITES: random_csc(papers, papers, seed, times=times),
        WRITES: random_csc(authors, papers, seed + 1, times=times),
        WRITTEN_BY: random_csc(papers, authors, seed + 2, most=15, times=times),
    }
    return ArrayGraph.of({"paper": papers, "author": authors}, edges)


def check_structure(sampler: NeighborSampler, minibatch: Minibatch) -> None:
    """Nodes are unique, segments are in order, every edge exists, each column has as many as it must, and every node
    but the seeds was drawn in the hop whose segment it stands in."""
    options = sampler.options
    graph = sampler.graph
    for name, nodes in minibatch.nodes.items():
        offsets = minibatch.hop_offsets[name]
        assert offsets[0] == 0
        assert offsets[-1] == len(nodes)
        assert (np.diff(offsets.astype(np.int64)) >= 0).all()
        keys = nodes if minibatch.trees is None else np.stack([minibatch.trees[name], nodes])
        assert np.unique(keys, axis=-1).shape[-1] == len(nodes)
    expected = [
        (hop, edge_type)
        for hop, fanouts in enumerate(options.fanouts)
        for edge_type, fanout in zip(graph.edge_types, fanouts, strict=True)
        if fanout != 0
    ]
    assert [(layer.hop, layer.edge_type) for layer in minibatch.layers] == expected
    for layer in minibatch.layers:
        _check_layer(sampler, minibatch, layer)
    _check_discovery(minibatch)


def _check_layer(sampler: NeighborSampler, minibatch: Minibatch, layer: SampledLayer) -> None:
    src_type, _, dst_type = layer.edge_type
    known = minibatch.hop_offsets[dst_type]
    assert layer.dst_begin == (0 if sampler.options.expand == "all" else known[layer.hop])
    assert layer.dst_end == known[layer.hop + 1]
    assert len(layer.indptr) == layer.dst_end - layer.dst_begin + 1
    assert layer.indptr[0] == 0
    assert layer.indptr[-1] == len(layer.indices)
    assert layer.edges is not None
    csc = sampler.graph.csc(layer.edge_type)
    fanout = sampler.options.fanouts[layer.hop][list(sampler.graph.edge_types).index(layer.edge_type)]
    for column, (begin, end) in enumerate(pairwise(layer.indptr.tolist())):
        node = minibatch.nodes[dst_type][layer.dst_begin + column]
        first, last = csc.indptr[node], csc.indptr[node + 1]
        places = layer.edges[begin:end].astype(np.int64)
        rows = layer.indices[begin:end]
        assert ((first <= places) & (places < last)).all()
        assert (minibatch.nodes[src_type][rows] == csc.indices[places]).all()
        assert (np.diff(places) >= (0 if sampler.options.replace else 1)).all()
        if minibatch.trees is not None:
            tree = minibatch.trees[dst_type][layer.dst_begin + column]
            assert (minibatch.trees[src_type][rows] == tree).all()
        if sampler.options.temporal == "off":
            assert len(places) == _num_drawn(sampler, csc, first, last, fanout)


def _num_drawn(sampler: NeighborSampler, csc: CscArrays, first: int, last: int, fanout: int) -> int:
    weighted = sampler.options.weighted and csc.weights is not None
    candidates = int((csc.weights[first:last] > 0).sum()) if weighted else int(last - first)
    if fanout == -1:
        return candidates
    return fanout if sampler.options.replace and candidates else min(fanout, candidates)


def _check_discovery(minibatch: Minibatch) -> None:
    for name, nodes in minibatch.nodes.items():
        found = np.full(len(nodes), -1)
        found[minibatch.seed_rows if minibatch.seed_type == minibatch.link_src_type == name else []] = 0
        if minibatch.labels is not None and minibatch.seed_type != minibatch.link_src_type:
            ends = minibatch.seed_rows.reshape(-1, 2)
            if name in (minibatch.link_src_type, minibatch.seed_type):
                found[ends[:, 0 if name == minibatch.link_src_type else 1]] = 0
        for layer in minibatch.layers:
            if layer.edge_type[0] == name:
                rows = np.unique(layer.indices)
                new = rows[found[rows] < 0]
                found[new] = layer.hop + 1
        segments = np.repeat(
            np.arange(len(minibatch.hop_offsets[name]) - 1), np.diff(minibatch.hop_offsets[name].astype(np.int64))
        )
        assert (found == segments).all()
