"""The least that any cache can miss: Belady's MIN with bypass, minibatch by minibatch, in plain NumPy.

Written from the definition, without the engine's code, so that it can judge it: after each minibatch, of the rows that
were in the cache and those just used, keep the ones that are needed soonest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def next_uses(trace: Sequence[npt.NDArray[Any]], num_rows: int) -> list[Rows]:
    """Return, for each minibatch, when each of its rows is used next; len(trace) means never again."""
    soonest = np.full(num_rows, len(trace), np.int64)
    found = []
    for batch in range(len(trace) - 1, -1, -1):
        found.append(soonest[trace[batch]])
        soonest[trace[batch]] = batch
    return found[::-1]


def belady_misses(trace: Sequence[npt.NDArray[Any]], num_rows: int, cache_rows: int) -> int:
    """Count the misses of all minibatches, from an empty cache.

    trace: the different rows of each minibatch. cache_rows: rows that are kept between minibatches.
    """
    cached: Rows = np.empty(0, np.int64)
    due: Rows = np.empty(0, np.int64)
    is_cached: npt.NDArray[Any] = np.zeros(num_rows, bool)
    misses = 0
    for batch, (rows, following) in enumerate(zip(trace, next_uses(trace, num_rows), strict=True)):
        misses += int(np.count_nonzero(~is_cached[rows]))
        waiting = due != batch  # the others are in `rows` with a later use
        candidates = np.concatenate([cached[waiting], rows])
        needed = np.concatenate([due[waiting], following])
        useful = needed < len(trace)
        candidates, needed = candidates[useful], needed[useful]
        if len(candidates) > cache_rows:
            kept = np.argpartition(needed, cache_rows - 1)[:cache_rows] if cache_rows else np.empty(0, np.int64)
            candidates, needed = candidates[kept], needed[kept]
        is_cached[cached] = False
        cached, due = candidates, needed
        is_cached[cached] = True
    return misses


def static_misses(trace: Sequence[npt.NDArray[Any]], num_rows: int, cache_rows: int) -> int:
    """Count the misses when the rows that are used most often are held throughout, their first load not counted."""
    uses = np.zeros(num_rows, np.int64)
    for rows in trace:
        uses[rows] += 1
    held = np.zeros(num_rows, bool)
    held[np.argsort(-uses, kind="stable")[:cache_rows]] = True
    return sum(int(np.count_nonzero(~held[rows])) for rows in trace)
