"""When will each row be asked for again, how many rows does a cache of any size miss, and how do tables share memory?

`native.Scheduler` turns the first answer into recipes, a minibatch at a time.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from outcrop import native
from outcrop.errors import InvalidArgument, StorageFailure
from outcrop.store import os_calls
from outcrop.types import CurvePoints, Int64Array, UInt32Array

# Cache sizes that a miss curve looks at, as parts of the table.
FRACTIONS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)

_CHUNK_ROWS = 1 << 20
# Parts of a cache that are tried as pinned.
_PINNED_PARTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)


class NextUseFile:
    """The next uses of a sequence of requests, in a scratch file of 4 bytes per key.

    Written from the last request to the first and read in any order: next uses are found backwards, and scheduling goes
    forwards. Memory: 4 bytes per row of the table, until `seal`. A context manager; the file stays.
    """

    def __init__(self, path: Path, counts: Int64Array, num_rows: int, last: int = native.NEVER) -> None:
        """Create the file.

        counts: int64 [num_requests], the keys of each request. num_rows: all keys are below. last: what follows a key's
        last use, native.NEVER, or native.UNKNOWN when other requests will come behind these.
        """
        self.path = path
        self._begins = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        self._unwritten = len(counts)
        self._future: native.NextUses | None = native.NextUses(num_rows, last)
        self._descriptor = os_calls.create(path)

    def write(self, request: int, keys: UInt32Array) -> None:
        """Note the keys (uint32 [n]) of the last request that is not yet written."""
        if self._future is None or request != self._unwritten - 1:
            raise InvalidArgument(f"next uses: expected request {self._unwritten - 1}, found {request}")
        if len(keys) != self._count(request):
            raise InvalidArgument(f"request {request}: expected {self._count(request)} keys, found {len(keys)}")
        next_use = self._future.before(request, keys)
        os_calls.write_at(self._descriptor, self.path, next_use, 4 * int(self._begins[request]))
        self._unwritten = request

    def first_uses(self, keys: UInt32Array) -> UInt32Array:
        """Return the first request that uses each key (uint32 [n]), as `NextUseCache.load` wants to know."""
        self._check_written()
        if self._future is None:
            raise InvalidArgument("next uses: first uses are known until the file is sealed")
        return self._future.first(keys)

    def seal(self) -> None:
        """Give back the memory that writing takes."""
        self._future = None

    def read(self, request: int) -> UInt32Array:
        """Return the next use of each key of a request: uint32 [n], in the order of its keys."""
        self._check_written()
        next_use = np.empty(self._count(request), np.uint32)
        rest, offset = os_calls.flat(next_use), 4 * int(self._begins[request])
        while len(rest):
            if (found := os.preadv(self._descriptor, [rest], offset)) == 0:
                raise StorageFailure(0, f"{offset} bytes long, expected {4 * int(self._begins[-1])}", str(self.path))
            rest, offset = rest[found:], offset + found
        return next_use

    def close(self) -> None:
        """Close the file, which stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> "NextUseFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self, request: int) -> int:
        return int(self._begins[request + 1] - self._begins[request])

    def _check_written(self) -> None:
        if self._unwritten:
            raise InvalidArgument(f"next uses: {self._unwritten} requests are not yet written")


@dataclass(frozen=True, slots=True)
class MissCurve:
    """How many rows caches of different sizes miss, when they keep what is used soonest (Belady's MIN, with bypass).

    accesses: rows asked for. capacities: int64 [n], in rows, ascending. misses: float64 [n], estimates where the curve
    was made from a sample of rows.
    """

    num_rows: int
    accesses: int
    capacities: Int64Array
    misses: npt.NDArray[np.float64]

    def misses_at(self, capacity: int) -> float:
        """Return the misses of a cache of `capacity` rows, interpolated."""
        return float(np.interp(capacity, self.capacities, self.misses))

    def points(self) -> CurvePoints:
        """Return the curve in plain values, misses rounded to a tenth."""
        misses = tuple(round(value, 1) for value in self.misses.tolist())
        return CurvePoints(self.num_rows, self.accesses, tuple(self.capacities.tolist()), misses)

    @classmethod
    def of(cls, points: CurvePoints) -> "MissCurve":
        """The inverse of `points`."""
        capacities, misses = np.array(points.capacities, np.int64), np.array(points.misses, np.float64)
        return cls(points.num_rows, points.accesses, capacities, misses)


def miss_curve(
    requests: Iterable[UInt32Array],
    num_rows: int,
    capacities: Sequence[int] | None = None,
    *,
    sampled_rows: int = 1 << 18,
    seed: int = 0,
    num_threads: int = 1,
) -> MissCurve:
    """Simulate caches of several sizes over one trace.

    requests: the keys of each, uint32 [n], below num_rows; looked at once. capacities: in rows; by default from none to
    all. Of a table with more than `sampled_rows` rows only so many, drawn at random, are followed, in caches that are
    smaller in proportion (Waldspurger et al., SHARDS, FAST 2015): memory is 4 bytes per row and 8 per access to a
    sampled row.
    """
    sizes = np.unique([int(part * num_rows) for part in FRACTIONS] if capacities is None else list(capacities))
    sample = _Sample(requests, num_rows, sampled_rows, seed)
    with ThreadPoolExecutor(num_threads) as threads:
        misses = np.array(list(threads.map(sample.misses, sizes.tolist())), np.float64)
    return MissCurve(num_rows, sample.accesses, sizes.astype(np.int64), misses)


def rows_to_pin(
    requests: Iterable[UInt32Array],
    num_rows: int,
    capacity: int,
    *,
    sampled_rows: int = 1 << 18,
    seed: int = 0,
    num_threads: int = 1,
) -> UInt32Array:
    """Return which rows should stay in the cache for ever, when the same trace is gone through again and again.

    Each pass begins with nothing else in the cache, and every row that the cache could have held is missed once more.
    The rows wanted most often are loaded when the first pass begins, and are there for all others. How many of them
    miss least is tried on a sample of rows (see `miss_curve`). uint32 [n], n at most `capacity`, most wanted first.
    Memory: 10 bytes per row, 8 per access to a sampled one.
    """
    counts = np.zeros(num_rows, np.uint32)

    def counted() -> Iterator[UInt32Array]:
        for keys in requests:
            counts[keys] += 1
            yield keys

    sample = _Sample(counted(), num_rows, sampled_rows, seed)
    most_wanted = _most_wanted(counts, capacity)
    with ThreadPoolExecutor(num_threads) as threads:
        sizes = [int(capacity * part) for part in _PINNED_PARTS]
        misses = list(threads.map(lambda size: sample.misses(capacity, most_wanted[:size]), sizes))
    return most_wanted[: sizes[int(np.argmin(misses))]]


def _most_wanted(counts: npt.NDArray[np.uint32], most: int) -> UInt32Array:
    """Return the rows with the highest counts, none of them 0: uint32, at most `most`, the highest first."""
    highest, rows_of_count = int(counts.max(initial=0)), np.zeros(1, np.int64)
    for start in range(0, len(counts), _CHUNK_ROWS):  # bincount makes int64 of what it counts
        some = np.bincount(counts[start : start + _CHUNK_ROWS], minlength=highest + 1)
        rows_of_count = rows_of_count + some
    rows_of_count = rows_of_count[1:]
    # How many rows have at least each count from 1 on; the counts that fit as a whole, and a part of the next one.
    fits = int(np.count_nonzero(np.cumsum(rows_of_count[::-1]) <= most))
    least = len(rows_of_count) - fits + 1
    above = np.flatnonzero(counts >= least)
    above = above[np.argsort(-counts[above].astype(np.int64), kind="stable")]
    rest = np.flatnonzero(counts == least - 1)[: most - len(above)] if least > 1 else above[:0]
    return np.concatenate((above, rest)).astype(np.uint32)


class _Sample:
    """What some of a table's rows are asked for, and caches that are smaller in the same proportion."""

    def __init__(self, requests: Iterable[UInt32Array], num_rows: int, sampled_rows: int, seed: int) -> None:
        self._number = _sampled_numbers(num_rows, sampled_rows, seed)
        self._num_followed = min(num_rows, sampled_rows)
        self._part = self._num_followed / max(1, num_rows)
        self.accesses, self._requests = 0, []
        for keys in requests:
            self.accesses += len(keys)
            self._requests.append(self._followed(keys))
        future = native.NextUses(self._num_followed)
        last = len(self._requests) - 1
        self._next_uses = [future.before(r, self._requests[r]) for r in range(last, -1, -1)][::-1]

    def misses(self, capacity: int, pinned: UInt32Array | None = None) -> float:
        """Return how many rows a cache misses that holds `capacity` of all rows, the pinned ones among them."""
        keys = self._followed(pinned) if pinned is not None else np.zeros(0, np.uint32)
        cache = native.NextUseCache(self._num_followed, max(len(keys), round(capacity * self._part)))
        cache.pin(keys)
        for request, (followed, next_use) in enumerate(zip(self._requests, self._next_uses, strict=True)):
            cache.advance(request, followed, next_use)
        # A sample that has the share 1.02 of what it stands for is corrected by that.
        return float(cache.statistics().misses) * self.accesses / max(1, sum(map(len, self._requests)))

    def _followed(self, keys: UInt32Array) -> UInt32Array:
        numbers = self._number[keys]
        followed: UInt32Array = numbers[numbers != native.MISS]
        return followed


def _sampled_numbers(num_rows: int, sampled_rows: int, seed: int) -> UInt32Array:
    """Return uint32 [num_rows]: consecutive numbers of sampled rows, native.MISS of the others."""
    if num_rows <= sampled_rows:
        return np.arange(num_rows, dtype=np.uint32)
    number = np.full(num_rows, native.MISS, np.uint32)
    sampled = np.random.default_rng(seed).choice(num_rows, sampled_rows, replace=False, shuffle=False)
    number[sampled] = np.arange(sampled_rows, dtype=np.uint32)
    return number


def share_memory(curves: Mapping[str, MissCurve], row_bytes: Mapping[str, int], budget_bytes: int) -> dict[str, int]:
    """Return how many rows of each table to cache, so that the bytes missed by all together are fewest.

    curves, row_bytes: by name of the table. A byte of memory goes where it saves most bytes of reading; one that saves
    nothing goes nowhere. Curves are taken as convex, as those of MIN nearly are.
    """
    steps = [
        (saved / rows, name, rows)
        for name, curve in curves.items()
        for rows, saved in _convex_steps(curve)
        if saved > 0
    ]
    shares, rest = dict.fromkeys(curves, 0), budget_bytes
    for _, name, rows in sorted(steps, reverse=True):
        taken = min(rows, rest // row_bytes[name])
        shares[name] += taken
        rest -= taken * row_bytes[name]
    return shares


def _convex_steps(curve: MissCurve) -> list[tuple[int, float]]:
    """Return (rows more, misses fewer) from corner to corner of the lower convex hull."""
    corners = [(0, float(curve.accesses))]
    for corner in zip(curve.capacities.tolist(), curve.misses.tolist(), strict=True):
        if corner[0] == 0:
            continue
        while len(corners) > 1 and _slope(corners[-2], corner) <= _slope(corners[-2], corners[-1]):
            corners.pop()
        corners.append(corner)
    return [(b[0] - a[0], a[1] - b[1]) for a, b in pairwise(corners)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])
