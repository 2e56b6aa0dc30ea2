"""Pearson's test, with a floor that a wrong distribution does not pass and a right one all but never misses."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from math import sqrt

NORMAL_QUANTILE = 4.753  # of 1 - 10^-6


def critical_value(degrees_of_freedom: int) -> float:
    """The value that chi-square passes once in a million (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees_of_freedom)
    return degrees_of_freedom * (1 - spread + NORMAL_QUANTILE * sqrt(spread)) ** 3


def fits(drawn: Iterable[Hashable], probabilities: Mapping[Hashable, float]) -> bool:
    """Whether outcomes have these probabilities. An outcome of probability 0 is none of them."""
    counts = Counter(drawn)
    if set(counts) - set(probabilities):
        return False
    total = counts.total()
    assert abs(sum(probabilities.values()) - 1) < 1e-9
    assert min(probabilities.values()) * total >= 5, "too few draws for these cells"
    chi_square = sum((counts[cell] - total * p) ** 2 / (total * p) for cell, p in probabilities.items())
    return chi_square < critical_value(max(1, len(probabilities) - 1))
