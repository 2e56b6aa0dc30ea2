"""Answers of the core as callers see them, and several answers as one."""

import numpy as np

from outcrop import native
from outcrop.types import Neighbors, SearchUsage


def usage_of(usage: native.SearchUsage, queries: int, centroid_us: float, elapsed_us: float) -> SearchUsage:
    """Return the usage of one call of the core, with the wall times that the core does not know, in microseconds."""
    return SearchUsage(
        queries=queries,
        reads=usage.reads,
        bytes=usage.bytes,
        lists=usage.lists,
        cache_hits=usage.cache_hits,
        skipped=usage.skipped,
        distances=usage.distances,
        reranked=usage.reranked,
        waves=usage.waves,
        device_us=usage.device_us,
        centroid_us=centroid_us,
        elapsed_us=elapsed_us,
    )


def joined(parts: list[Neighbors], k: int) -> Neighbors:
    """Return the answers to consecutive parts of a batch as one; none for no parts."""
    if not parts:
        return _nothing(k)
    if len(parts) == 1:
        return parts[0]
    total = {name: sum(getattr(part.usage, name) for part in parts) for name in SearchUsage.__dataclass_fields__}
    return Neighbors(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        SearchUsage(**total),
        parts[0].exact_distances,
        np.concatenate([part.latency_us for part in parts]),
    )


def _nothing(k: int) -> Neighbors:
    usage = SearchUsage(**dict.fromkeys(SearchUsage.__dataclass_fields__, 0))
    return Neighbors(np.empty((0, k), np.int64), np.empty((0, k), np.float32), usage, True, np.empty(0, np.float32))
