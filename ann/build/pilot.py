"""How many copies, by which rule? Tried on held-out queries before anything is assigned, by what the reads would cost.

Only the true neighbours of the queries need to be assigned to know how many lists a query must probe for a recall, and
a sample to know how long the lists become. Reads, merges and bytes then follow from the order of the lists on disk.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.ann.build.assignment import Neighbourhood, Rule
from outcrop.ann.build.options import Sizes
from outcrop.ann.build.truth import Truth
from outcrop.ann.calibrate import first_ranks
from outcrop.ann.centroid_index import CentroidIndex
from outcrop.store import DeviceModel
from outcrop.types import COPY_RULES, BuildOptions, Float32Array, Int32Array

_RECALL = 0.95
_K = 10
_MOST_COPIES = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """What one rule would cost per query at recall@10 0.95. copies: entries per vector that it really makes."""

    rule: Rule
    copies: float
    nprobe: int
    reads: float
    bytes: float
    device_us: float


def rules_to_try(options: BuildOptions, allowed_copies: float) -> list[Rule]:
    """Return the rules that the options and the disk allow."""
    counts = (
        [options.copies] if options.copies else [c for c in range(1, _MOST_COPIES + 1) if c <= allowed_copies + 0.5]
    )
    names = [options.copy_rule] if options.copy_rule else COPY_RULES
    rules = [Rule(name, count) for count in counts for name in names if count > 1]
    return ([Rule("nearest", 1)] if 1 in counts else []) + rules


def try_rules(
    rules: list[Rule],
    neighbourhood: Neighbourhood,
    index: CentroidIndex,
    truth: Truth,
    sample: Float32Array,
    sizes: Sizes,
    num_rows: int,
    device: DeviceModel,
) -> list[Trial]:
    """Return a trial for each rule, cheapest first."""
    nearby, nearby_distances = neighbourhood.candidates(truth.near_rows)
    sampled, sampled_distances = neighbourhood.candidates(sample)
    _, probes = index.search(truth.queries, min(index.num_centroids, 1024))
    trials = []
    for rule in rules:
        holders = neighbourhood.choose(rule, truth.near_rows, nearby, nearby_distances)
        entries = neighbourhood.choose(rule, sample, sampled, sampled_distances)
        nprobe = _needed_nprobe(probes, holders, truth)
        counts = np.bincount(entries[entries >= 0], minlength=index.num_centroids) * (num_rows / len(sample))
        reads, num_bytes, device_us = _cost(probes[:, :nprobe], counts * sizes.record_bytes + 96, device)
        copies = float((entries >= 0).sum() / len(entries))
        trials.append(Trial(rule, copies, nprobe, reads, num_bytes, device_us))
    return sorted(trials, key=lambda trial: trial.device_us)


def choose_rule(trials: list[Trial], allowed_copies: float) -> Trial:
    """Return the cheapest trial whose copies the disk allows; the one with the fewest copies when none is allowed."""
    allowed = [trial for trial in trials if trial.copies <= allowed_copies]
    return allowed[0] if allowed else min(trials, key=lambda trial: trial.copies)


def _needed_nprobe(probes: Int32Array, holders: Int32Array, truth: Truth) -> int:
    """Return how many of the nearest centroids hold 95 % of the true neighbours."""
    neighbors = truth.ids[:, :_K]
    if not len(truth.near_ids):  # a set of one vector, which is the query itself
        return 1
    at = np.searchsorted(truth.near_ids, np.maximum(neighbors, truth.near_ids[0]))
    ranks = np.full(neighbors.shape, probes.shape[1], np.int64)
    for query in range(len(probes)):
        ranks[query] = first_ranks(probes[query], holders[at[query]])
    found = np.sort(ranks[neighbors >= 0])
    return int(min(probes.shape[1], found[min(len(found) - 1, int(np.ceil(_RECALL * len(found))) - 1)] + 1))


def _cost(
    probes: Int32Array, list_bytes: npt.NDArray[np.floating[Any]], device: DeviceModel
) -> tuple[float, float, float]:
    """Mean reads, bytes and device time per query of probing these lists, lying one behind the other on disk."""
    ends = np.cumsum(list_bytes)
    first_block = ((ends - list_bytes) // 4096).astype(np.int64)
    end_block = ((ends - 1) // 4096 + 1).astype(np.int64)
    reads = num_bytes = device_us = 0.0
    for query_probes in probes:
        lists = np.sort(query_probes[query_probes >= 0])
        begin, end = first_block[lists], end_block[lists]
        new = np.concatenate([[True], begin[1:] > end[:-1]])
        starts = begin[new]
        stops = end[np.concatenate([np.flatnonzero(new)[1:] - 1, [len(lists) - 1]])]
        lengths = (stops - starts) * 4096
        reads += len(lengths)
        num_bytes += float(lengths.sum())
        device_us += device.cost_us(lengths)
    n = len(probes)
    return reads / n, num_bytes / n, device_us / n


def to_json(trial: Trial) -> dict[str, Any]:
    """Return JSON."""
    return {**asdict(trial), "rule": [trial.rule.name, trial.rule.copies]}


def from_json(value: dict[str, Any]) -> Trial:
    """The inverse of `to_json`."""
    return Trial(**{**value, "rule": Rule(*value["rule"])})
