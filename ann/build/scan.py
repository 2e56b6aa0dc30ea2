"""First pass over the input: every row is checked, a sample is drawn, the bounds of each dimension are taken."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from outcrop import native
from outcrop.ann.build.options import Sizes
from outcrop.ann.build.source import BuildInput
from outcrop.store import save_arrays
from outcrop.types import AnyArray, Float32Array, Int64Array, as_float32

Tick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Scan:
    """sample: stored rows [m, dim], drawn without replacement, in random order; sample_ids: theirs, int64 [m].

    lower, upper: float32 [dim], the bounds of all rows.
    """

    sample: AnyArray
    sample_ids: Int64Array
    lower: Float32Array
    upper: Float32Array

    def save(self, path: Path) -> None:
        """Write all to one file; a killed process leaves none or a whole one."""
        save_arrays(path, sample=self.sample, sample_ids=self.sample_ids, lower=self.lower, upper=self.upper)

    @staticmethod
    def load(path: Path) -> "Scan":
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as saved:
            return Scan(saved["sample"], saved["sample_ids"], saved["lower"], saved["upper"])


def scan(source: BuildInput, sizes: Sizes, seed: int, tick: Tick) -> Scan:
    """Read everything once. Raises InvalidArgument for the first row that may not enter."""
    random = np.random.default_rng(seed)
    wanted = np.sort(random.choice(source.num_rows, sizes.sample_rows, replace=False))
    sample = np.empty((sizes.sample_rows, source.spec.dim), source.spec.dtype)
    lower = np.full(source.spec.dim, np.inf, np.float32)
    upper = np.full(source.spec.dim, -np.inf, np.float32)
    start = 0
    for stop, rows in source.batches(sizes.batch_rows):
        low, high = native.row_bounds(rows)
        np.minimum(lower, low, out=lower)
        np.maximum(upper, high, out=upper)
        begin, end = np.searchsorted(wanted, (start, stop))
        sample[begin:end] = rows[wanted[begin:end] - start]
        start = stop
        tick(stop / source.num_rows)
    ids = wanted if source.ids is None else source.ids[wanted]
    order = random.permutation(sizes.sample_rows)
    return Scan(sample[order], ids[order].astype(np.int64), lower, upper)


def training_rows(found: Scan, most: int) -> Float32Array:
    """Return at most `most` rows of the sample as float32."""
    return as_float32(found.sample[:most])
