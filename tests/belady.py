"""Belady's MIN with bypass, a request at a time, in plain NumPy: what the core must reach, and nobody can beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def belady_misses(trace: Sequence[npt.NDArray[np.uint32]], num_keys: int, capacity: int) -> int:
    """Count the misses of MIN with bypass by its definition: after each request, keep what is used soonest."""
    infinity = len(trace)
    uses = np.full((infinity + 1, num_keys), infinity)
    for request in range(infinity - 1, -1, -1):
        uses[request] = uses[request + 1]
        uses[request, trace[request]] = request
    cached = np.zeros(num_keys, bool)
    misses = 0
    for request, keys in enumerate(trace):
        misses += int(np.count_nonzero(~cached[keys]))
        candidates = np.union1d(np.flatnonzero(cached), keys)
        candidates = candidates[uses[request + 1, candidates] < infinity]
        kept = candidates[np.argsort(uses[request + 1, candidates], kind="stable")[:capacity]]
        cached[:] = False
        cached[kept] = True
    return misses
