"""Measures what recall costs on queries whose exact neighbours are known, so that users ask for recall and not for
knobs."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from outcrop.ann.edge import query_rows
from outcrop.ann.policy import TARGETS, Policy, PolicyTable
from outcrop.types import Float32Array, Int32Array, Int64Array

if TYPE_CHECKING:
    from outcrop.ann.build.truth import Truth
    from outcrop.ann.index import Index

_KS = (10, 100)
# Candidates whose raw vectors are read, tried as multiples of k.
_RERANKS = (0, 1, 2, 4)
# Candidates re-ranked at most, where codes are coarse: what the core's selection holds.
_MOST_RERANK = 16_384
# A few hundred queries tell a recall to within a standard error, and held-out vectors of the set may be a little easier
# than queries from elsewhere. So policies must reach this many standard errors above the target; those that stop early
# by what the waves found, which carries over less well to queries of another kind, twice as many.
_STANDARD_ERRORS = 1.0
_EARLY_STOP_STANDARD_ERRORS = 2.0
# Pruning and waves are tried at this target and above.
_VARIANTS_FROM = 0.9
# One measurement reads about this much, so that high targets are measured on fewer queries.
_MEASURED_BYTES = 192 << 20
_FEWEST_QUERIES = 24
_TRIES = 3
# Asked for on top of what a code loses, so that the second try succeeds.
_SAFETY = 0.0005
# The curve looks at a quarter of the centroids, and at this many at least.
_FEWEST_CENTROIDS = 1024


def recall_at_k(
    distances: Float32Array, ids: Int64Array, true_distances: Float32Array, true_ids: Int64Array | None = None
) -> Float32Array:
    """Return the recall of each query, float32 [n], tolerant of ties.

    distances, ids: [n, k], what was found; true_distances: [n, >= k], exact, ascending. A result counts when its
    distance is no larger than the k-th true one, up to float32's rounding. Distances of codes do not tell that: with
    true_ids, those of true_distances, a result counts when it is one of them and as near. Where fewer than k vectors
    exist, all count.
    """
    k = min(ids.shape[1], true_distances.shape[1])
    bound = tie_bound(true_distances, k)
    if true_ids is None:
        hits = (distances <= bound) & (ids >= 0)
    else:
        near = np.where(true_distances <= bound, true_ids, -1)
        hits = np.stack([np.isin(row, true[true >= 0]) for row, true in zip(ids, near, strict=True)])
    recall: Float32Array = (np.minimum(hits.sum(axis=1), k) / k).astype(np.float32)
    return recall


def tie_bound(true_distances: Float32Array, k: int) -> Float32Array:
    """Return up to which distance a result counts as one of the k nearest, float32 [n, 1]: float32 rounds either
    way."""
    bound: Float32Array = true_distances[:, k - 1 : k]
    slack: Float32Array = np.float32(1e-5) * np.abs(bound) + np.float32(1e-6)
    return bound + slack


class RecallCurve:
    """How many of the true neighbours lie in the first n lists of each query: what any code and any policy can find at
    most.

    It follows from the assignment alone, without a read.
    """

    def __init__(self, index: "Index", truth: "Truth", holders: Int32Array) -> None:
        """holders: int32 [len(truth.neighbor_ids), copies], the centroids of each true neighbour, -1 behind the
        last."""
        most = min(index.centroids.num_centroids, max(_FEWEST_CENTROIDS, index.centroids.num_centroids // 4))
        queries, _ = query_rows(index.spec, truth.queries)
        _, probes = index.centroids.search(queries, most)
        place = np.searchsorted(truth.neighbor_ids, np.maximum(truth.ids, truth.neighbor_ids[0]))
        # The rank, among a query's probes, of the first list that holds each of its true neighbours; `most`: none of
        # them.
        self._ranks = np.stack([first_ranks(p, holders[at]) for p, at in zip(probes, place, strict=True)])
        self._ranks[truth.ids < 0] = most
        self._distances = truth.distances
        self._of_k: dict[int, Int64Array] = {}
        self.most = most

    def ranks(self, k: int) -> Int64Array:
        """Return when each query finds its first, second … k-th neighbour that is as near as the k-th, int64 [n, k]."""
        if k not in self._of_k:
            near = self._distances <= tie_bound(self._distances, k)
            self._of_k[k] = np.sort(np.where(near, self._ranks, self.most), axis=1)[:, :k]
        return self._of_k[k]

    def recall(self, k: int, nprobe: int, num_queries: int | None = None) -> float:
        """Return the share of the k nearest that lie in the first `nprobe` lists, of the first `num_queries`
        queries."""
        return float((self.ranks(k)[:num_queries] < nprobe).mean())

    def standard_error(self, k: int, recall: float) -> float:
        """Return how far the mean recall of these queries may be from that of all such queries, where it is
        `recall`."""
        nprobe = self.nprobe_for(k, recall) or self.most
        per_query = (self.ranks(k) < nprobe).mean(axis=1)
        return float(per_query.std() / math.sqrt(len(per_query)))

    def nprobe_for(self, k: int, recall: float) -> int | None:
        """Return the fewest lists that hold this share of the k nearest, or None."""
        ranks = np.sort(self.ranks(k), axis=None)
        nprobe = int(ranks[min(ranks.size - 1, math.ceil(recall * ranks.size) - 1)]) + 1
        return nprobe if nprobe <= self.most else None


def first_ranks(probes: Int32Array, holders: Int32Array) -> Int64Array:
    """Return the first place in `probes` [n] of any of the centroids in each row of `holders`, int64; n where there is
    none."""
    order = np.argsort(probes)
    place = np.searchsorted(probes, holders, sorter=order).clip(0, len(probes) - 1)
    rank = order[place]
    rank[(probes[rank] != holders) | (holders < 0)] = len(probes)
    first: Int64Array = rank.min(axis=1)
    return first


class _Bench:
    """Runs policies over the calibration queries."""

    def __init__(self, index: "Index", truth: "Truth", curve: RecallCurve, k: int) -> None:
        self._index = index
        self._truth = truth
        self.k = k
        self.curve = curve
        # By re-rank: what the curve found and the search did not, where it was measured last. Below zero where ties let
        # the search find other neighbours that are as near.
        self.lost: dict[int, float] = {}
        self._list_bytes = 4096 + float(index.directory.list_offsets[-1]) / index.directory.num_centroids
        self.held_out = bool((truth.own_ids >= 0).any())
        # Distances of the core, without the edge's 1 - for cosine, on both sides.
        self._true = truth.distances + (1 if index.spec.metric == "cosine" else 0)

    def measure(self, policy: Policy) -> Policy:
        """Return the policy with its recall and costs filled in.

        The recall is the curve's, less what the code, the re-rank and the policy lost on the queries that were run.
        """
        n = self._num_queries(policy)
        k = self.k + 1 if self.held_out else self.k
        asked = replace(policy, k=k, rerank=max(policy.rerank, k) if policy.rerank else 0)
        found = self._index.search_by(self._truth.queries[:n], asked)
        recall = self._recall(np.asarray(found.ids, np.int64), found.distances, found.exact_distances).mean()
        lost = self.curve.recall(self.k, policy.nprobe, n) - float(recall)
        usage = found.usage
        return replace(
            policy,
            k=self.k,
            measured=self.curve.recall(self.k, policy.nprobe) - lost,
            reads=usage.reads / n,
            bytes=usage.bytes / n,
            device_us=usage.device_us / n,
        )

    def _num_queries(self, policy: Policy) -> int:
        per_query = policy.nprobe * self._list_bytes + policy.rerank * 4096
        return min(len(self._truth.queries), max(_FEWEST_QUERIES, int(_MEASURED_BYTES / per_query)))

    def _recall(self, ids: Int64Array, distances: Float32Array, exact_distances: bool) -> Float32Array:
        """The recall of each query. Distances of codes say little about ties: then a neighbour counts by its id."""
        n = len(ids)
        own = (ids == self._truth.own_ids[:n, None]) & (ids >= 0)
        order = np.argsort(own, axis=1, kind="stable")[:, : self.k]
        ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
        ids = np.where(np.take_along_axis(own, order, 1), -1, ids)
        return recall_at_k(distances, ids, self._true[:n], None if exact_distances else self._truth.ids[:n])


def calibrate(index: "Index", truth: "Truth", holders: Int32Array, tick: Callable[[float], None]) -> PolicyTable:
    """Return a policy for each recall target that can be reached, for k = 10 and k = 100.

    holders: int32 [len(truth.neighbor_ids), copies], the centroids of each true neighbour.
    """
    policies: list[Policy] = []
    most_k = truth.ids.shape[1]
    if most_k:
        curve = RecallCurve(index, truth, holders)
        for number, k in enumerate(sorted({min(k, most_k) for k in _KS})):
            bench = _Bench(index, truth, curve, k)
            for step, target in enumerate(TARGETS):
                best = _calibrated(bench, index, target)
                policies += [] if best is None else [best]
                tick((number + (step + 1) / len(TARGETS)) / len(_KS))
    tick(1.0)
    return PolicyTable(policies)


def _calibrated(bench: _Bench, index: "Index", target: float) -> Policy | None:
    """Return the cheapest policy found that reaches the target, or None when it takes more lists than the curve
    knows."""
    error = bench.curve.standard_error(bench.k, target)
    demanded = min(1.0, target + _STANDARD_ERRORS * error)
    tried: list[Policy] = []
    for factor in (0,) if index.lossless else _RERANKS:
        tried += _probes_for(bench, demanded, factor * bench.k)
    rerank = 4 * max(_RERANKS) * bench.k
    while not index.lossless and _cheapest(tried, demanded) is None and rerank <= min(_MOST_RERANK, 4 * index.num_rows):
        # Nothing helps but more candidates: the codes are coarse.
        tried += _probes_for(bench, demanded, rerank)
        rerank *= 4
    best = _cheapest(tried, demanded)
    if best is not None and target >= _VARIANTS_FROM:
        stop_early = [bench.measure(variant) for variant in _variants(best, index.centroids.num_centroids)]
        enough = _cheapest(stop_early, min(1.0, target + _EARLY_STOP_STANDARD_ERRORS * error))
        best = best if enough is None or enough.device_us > best.device_us else enough
    return None if best is None else replace(best, recall=target)


def _probes_for(bench: _Bench, demanded: float, rerank: int) -> list[Policy]:
    """Measure with the probes that the curve says, then with those that make up for what the code lost there."""
    measured: list[Policy] = []
    for _ in range(_TRIES):
        nprobe = _next_nprobe(bench, demanded + bench.lost.get(rerank, 0.0), measured)
        if nprobe is None:
            break
        policy = bench.measure(Policy(bench.k, 0.0, nprobe, rerank))
        bench.lost[rerank] = bench.curve.recall(bench.k, nprobe) - policy.measured + _SAFETY
        measured.append(policy)
        if policy.measured >= demanded:
            break
    return measured


def _next_nprobe(bench: _Bench, wanted: float, measured: list[Policy]) -> int | None:
    nprobe = bench.curve.nprobe_for(bench.k, wanted) if wanted <= 1 else None
    if nprobe is None and not measured:
        # More neighbours are as near as the k-th than the curve knows of, so it stays below what a search finds.
        return max(1, bench.curve.most // 4)
    if nprobe is not None and measured and nprobe <= measured[-1].nprobe:
        nprobe = None
    if nprobe is None and 2 * measured[-1].nprobe <= bench.curve.most:
        return 2 * measured[-1].nprobe
    return nprobe


def _cheapest(measured: list[Policy], demanded: float) -> Policy | None:
    reached = [policy for policy in measured if policy.measured >= demanded]
    return min(reached, key=lambda policy: policy.device_us) if reached else None


def _variants(best: Policy, num_centroids: int) -> list[Policy]:
    """Return variants that probe more where centroids crowd, or where the last wave still found something."""
    if best.nprobe < 8:
        return []
    more = min(num_centroids, int(best.nprobe * 1.4))
    wave = max(4, best.nprobe // 4)
    by_waves = [
        replace(best, nprobe=most, first_wave=best.nprobe // 2, next_wave=wave, patience=1)
        for most in (more, min(num_centroids, 2 * best.nprobe))
    ]
    return [replace(best, nprobe=more, ratio=1.6), *by_waves]
