"""Measures what recall costs on queries whose exact neighbours are known, so that users ask for recall and not for
knobs."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from outcrop.ann.policy import TARGETS, Policy, PolicyTable
from outcrop.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from outcrop.ann.build.truth import Truth
    from outcrop.ann.index import Index

_KS = (10, 100)
_GROWTH = 1.5
_BISECTIONS = 2
_RERANKS = (1, 2, 4)
# Held-out vectors of the set are a little easier than queries from elsewhere: the build has clustered them with their
# neighbours. Asked for a recall, calibration demands this share of the missing rest on top. On SIFT descriptors whose
# queries come from other photographs, a measured 0.968 was 0.963, and 0.937 was 0.929.
_MARGIN = 0.2
# Candidates that are re-ranked at most, where codes are coarse: what core's selection holds.
_MOST_RERANK = 16_384
# Where a target needs more than this share of all centroids, it is left to exact search.
_MOST_PROBED = 0.25
# The sweep ends here; what the highest target demands.
_ENOUGH = 0.9992
# Pruning and waves are tried at this target.
_VARIANTS_AT = 0.95


def recall_at_k(distances: Float32Array, ids: Int64Array, true_distances: Float32Array) -> Float32Array:
    """Return the recall of each query, float32 [n], tolerant of ties.

    distances, ids: [n, k], what was found; true_distances: [n, >= k], exact, ascending. A result counts when its
    distance is no larger than the k-th true one, up to float32's rounding; where fewer than k vectors exist, those are
    all that count.
    """
    k = min(ids.shape[1], true_distances.shape[1])
    bound = true_distances[:, k - 1 : k]
    hits = (distances <= bound + 1e-5 * np.abs(bound) + 1e-7) & (ids >= 0)
    recall: Float32Array = (np.minimum(hits.sum(axis=1), k) / k).astype(np.float32)
    return recall


class _Bench:
    """Runs policies over the calibration queries."""

    def __init__(self, index: "Index", truth: "Truth", k: int) -> None:
        self._index = index
        self._truth = truth
        self.k = k
        self.held_out = bool((truth.own_ids >= 0).any())
        # Distances of the core, without the edge's 1 - for cosine, on both sides.
        self._true = truth.distances[:, :k] + (1 if index.spec.metric == "cosine" else 0)

    def measure(self, policy: Policy) -> Policy:
        """Return the policy with its recall and costs filled in."""
        k = self.k + 1 if self.held_out else self.k
        found = self._index.search_by(
            self._truth.queries, replace(policy, k=k, rerank=max(policy.rerank, k) if policy.rerank else 0)
        )
        ids, distances = np.asarray(found.ids, np.int64), found.distances
        if self.held_out:
            own = ids == self._truth.own_ids[:, None]
            distances = np.where(own, np.inf, distances)
        if found.exact_distances:
            distances = np.sort(distances, axis=1)[:, : self.k]
            recall = recall_at_k(distances, np.zeros((len(ids), self.k), np.int64), self._true)
        else:
            recall = self._recall_by_ids(ids, distances)
        usage, n = found.usage, len(ids)
        return replace(
            policy,
            k=self.k,
            measured=float(recall.mean()),
            reads=usage.reads / n,
            bytes=usage.bytes / n,
            device_us=usage.device_us / n,
        )

    def _recall_by_ids(self, ids: Int64Array, distances: Float32Array) -> Float32Array:
        """Recall of results whose distances are those of codes, which says nothing about how near they are.

        Of vectors as far as the k-th neighbour, those that the truth knows count.
        """
        order = np.argsort(distances, axis=1, kind="stable")[:, : self.k]
        nearest = np.take_along_axis(ids, order, axis=1)
        bound = self._truth.distances[:, self.k - 1 : self.k]
        true_ids = np.where(self._truth.distances <= bound, self._truth.ids, -1)
        hits = [np.isin(row, true[true >= 0]).sum() for row, true in zip(nearest, true_ids, strict=True)]
        recall: Float32Array = (np.minimum(hits, self.k) / self.k).astype(np.float32)
        return recall


def calibrate(index: "Index", truth: "Truth", tick: Callable[[float], None]) -> PolicyTable:
    """Return a policy for each recall target that can be reached, for k = 10 and k = 100."""
    policies: list[Policy] = []
    for number, k in enumerate(_KS):
        if truth.distances.shape[1] < 1:
            break
        bench = _Bench(index, truth, min(k, truth.distances.shape[1]))
        policies += _calibrate_k(bench, index)
        tick((number + 1) / len(_KS))
        if bench.k < k:
            break
    tick(1.0)
    return PolicyTable(policies)


def _calibrate_k(bench: _Bench, index: "Index") -> list[Policy]:
    measured = _sweep(bench, index)
    chosen = []
    for target in TARGETS:
        demanded = target + _MARGIN * (1 - target)
        best = _cheapest(measured, demanded)
        if best is None:
            break
        measured += _refined(bench, measured, best, demanded)
        best = _cheapest(measured, demanded)
        assert best is not None
        if target == _VARIANTS_AT:
            measured += [bench.measure(variant) for variant in _variants(best, index.centroids.num_centroids)]
        best = _cheapest(measured, demanded)
        assert best is not None
        chosen.append(replace(best, recall=target))
    return chosen


def _sweep(bench: _Bench, index: "Index") -> list[Policy]:
    """Measure ever more probes until nearly everything is found."""
    reranks = [0] if index.lossless else [0, *(factor * bench.k for factor in _RERANKS)]
    measured: list[Policy] = []
    nprobe = 1
    while True:
        rounds = [bench.measure(Policy(bench.k, 0.0, nprobe, rerank)) for rerank in reranks]
        measured += rounds
        most = max(64, int(index.centroids.num_centroids * _MOST_PROBED))
        best = max(policy.measured for policy in rounds)
        if nprobe >= min(most, index.centroids.num_centroids) or best > _ENOUGH:
            # More lists help no further: if anything is missing, the codes are too coarse for so few candidates.
            while not index.lossless and best <= _ENOUGH and reranks[-1] < min(_MOST_RERANK, index.num_rows):
                reranks.append(min(_MOST_RERANK, 4 * reranks[-1]))
                measured.append(bench.measure(Policy(bench.k, 0.0, nprobe, reranks[-1])))
                if measured[-1].measured <= best:
                    break
                best = measured[-1].measured
            return measured
        nprobe = min(index.centroids.num_centroids, max(nprobe + 1, int(nprobe * _GROWTH)))


def _cheapest(measured: list[Policy], demanded: float) -> Policy | None:
    reached = [policy for policy in measured if policy.measured >= demanded]
    return min(reached, key=lambda policy: policy.device_us) if reached else None


def _refined(bench: _Bench, measured: list[Policy], best: Policy, demanded: float) -> list[Policy]:
    """Bisect between the cheapest policy that reached the recall and the largest one below it that did not."""
    if best.ratio or best.patience:
        return []
    below = [p.nprobe for p in measured if p.rerank == best.rerank and not p.ratio and p.nprobe < best.nprobe]
    low, high = max(below, default=0), best.nprobe
    found = []
    for _ in range(_BISECTIONS):
        middle = (low + high) // 2
        if middle in (low, high):
            break
        policy = bench.measure(replace(best, nprobe=middle))
        found.append(policy)
        low, high = (low, middle) if policy.measured >= demanded else (middle, high)
    return found


def _variants(best: Policy, num_centroids: int) -> list[Policy]:
    """Return variants that probe more where centroids crowd, or where the last wave still found something."""
    if best.nprobe < 8:
        return []
    more = min(num_centroids, int(best.nprobe * 1.4))
    by_ratio = [replace(best, nprobe=more, ratio=ratio) for ratio in (1.4, 1.8)]
    wave = max(4, best.nprobe // 4)
    by_waves = replace(best, nprobe=more, first_wave=best.nprobe // 2, next_wave=wave, patience=1)
    return [*by_ratio, by_waves]
