"""From a recall asked to how a query is searched: how many centroids, when to stop, how many candidates to re-rank.

A build measures policies on queries whose exact neighbours it knows; `choose` picks the cheapest that reached the
recall.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.errors import InvalidArgument
from outcrop.types import Float32Array

# Where nothing is known of the codes, as many candidates as core's selection holds are re-ranked.
_MOST_RERANK = 16_384
TARGETS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a query is searched.

    k: what it was measured for. recall: what it promises; measured: what it reached on the calibration queries. nprobe:
    centroids at most. rerank: candidates whose raw vectors are read; 0: none. ratio: centroids beyond `ratio` times the
    squared distance of the nearest one are not probed (SPANN's query-aware pruning); 0: off. first_wave, next_wave,
    patience: probe in waves of so many centroids and stop after `patience` waves that changed nothing; 0: all at once.
    reads, bytes, device_us: what a query cost, mean.
    """

    k: int
    recall: float
    nprobe: int
    rerank: int = 0
    ratio: float = 0.0
    first_wave: int = 0
    next_wave: int = 16
    patience: int = 0
    reads: float = 0.0
    bytes: float = 0.0
    device_us: float = 0.0
    measured: float = 0.0

    def num_probes(self, probes: npt.NDArray[np.int32], distances: Float32Array) -> npt.NDArray[np.int32]:
        """Return how many of its probes [n, nprobe] each query uses, int32 [n]."""
        found: npt.NDArray[np.int32] = (probes >= 0).sum(axis=1).astype(np.int32)
        if not self.ratio:
            return found
        near = (distances <= self.ratio * np.maximum(distances[:, :1], 0)).sum(axis=1)
        used: npt.NDArray[np.int32] = np.minimum(found, np.maximum(near, 1)).astype(np.int32)
        return used


class PolicyTable:
    """The measured policies of an index."""

    def __init__(self, policies: list[Policy]) -> None:
        """policies: any order."""
        self.policies = sorted(policies, key=lambda policy: (policy.k, policy.recall, policy.device_us))

    def to_json(self) -> list[dict[str, Any]]:
        """Return JSON."""
        return [asdict(policy) for policy in self.policies]

    @staticmethod
    def from_json(value: list[dict[str, Any]]) -> "PolicyTable":
        """The inverse of `to_json`."""
        return PolicyTable([Policy(**policy) for policy in value])

    def choose(self, k: int, recall: float, num_centroids: int) -> Policy:
        """Return the cheapest policy that reached `recall` for k neighbours or more; probing everything when none did.

        recall: above 0, at most 1. Raises InvalidArgument.
        """
        if not 0 < recall <= 1:
            raise InvalidArgument(f"recall: expected above 0 and at most 1, found {recall!r}")
        measured = sorted({policy.k for policy in self.policies})
        everything = Policy(k, 1.0, num_centroids, _MOST_RERANK)
        if not measured:
            return everything
        basis = next((m for m in measured if m >= k), measured[-1])
        reached = [policy for policy in self.policies if policy.k == basis and policy.recall >= recall]
        if not reached:
            return everything
        best = min(reached, key=lambda policy: policy.device_us)
        if k <= basis:
            return best
        # Beyond what was measured: the neighbours' volume grows with k, and with it the lists they lie in.
        grown = min(num_centroids, int(best.nprobe * (k / basis) ** 0.75) + 1)
        return replace(best, nprobe=grown, rerank=best.rerank * k // basis)
