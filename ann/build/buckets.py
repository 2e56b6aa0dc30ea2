"""Second pass: vectors are distributed to the buckets of the coarse centroids, on disk; then each bucket gets its
leaves.

From here on the build reads buckets, not the input: a bucket fits in memory, and its vectors are near each other.
"""

from pathlib import Path

import numpy as np

from outcrop.ann.build.options import Sizes
from outcrop.ann.build.scan import Tick
from outcrop.ann.build.source import BuildInput
from outcrop.ann.cluster import LeafTarget, nearest, train_leaves
from outcrop.ann.workers import Workers
from outcrop.store import Field, SortedRuns, save_array
from outcrop.types import AnyArray, CollectionSpec, Float32Array, Int64Array, as_float32


def bucket_runs(folder: Path, spec: CollectionSpec, sizes: Sizes, num_buckets: int) -> SortedRuns:
    """Return the bucket files of a build: an id and a stored row per vector."""
    fields = [Field("id", "int64"), Field("row", spec.dtype, spec.dim)]
    return SortedRuns(folder / "buckets", fields, num_buckets, sizes.chunk_bytes)


def distribute(
    source: BuildInput, coarse: Float32Array, runs: SortedRuns, sizes: Sizes, workers: Workers, tick: Tick
) -> None:
    """Write every vector to the bucket of its nearest coarse centroid. Goes on behind the last chunk written."""
    start = int(runs.mark or 0)

    def find(batch: tuple[int, AnyArray]) -> tuple[int, AnyArray, Int64Array]:
        stop, rows = batch
        return stop, rows, nearest(as_float32(rows), coarse)

    for stop, rows, bucket in workers.map(find, source.batches(sizes.batch_rows, start)):
        runs.append(bucket, [source.ids_of(start, stop), rows], stop)
        start = stop
        tick(stop / source.num_rows)
    runs.flush()


def bucket_sample(runs: SortedRuns, bucket: int, count: int, most: int) -> Float32Array:
    """Return the vectors of a bucket as float32, or every n-th of them so that at most `most` are kept."""
    every = max(1, -(-count // most))
    parts = [as_float32(rows[::every]) for _, rows in runs.batches(bucket, 65_536)]
    return np.concatenate(parts)


def train_all_leaves(
    runs: SortedRuns,
    coarse: Float32Array,
    sizes: Sizes,
    seed: int,
    most_rows: int,
    folder: Path,
    workers: Workers,
    tick: Tick,
) -> None:
    """Train the leaves of each bucket and write them to `folder`, a file per bucket. Files that exist are kept.

    most_rows: of one bucket that are trained on; each thread holds as many as float32.
    """
    folder.mkdir(exist_ok=True)
    counts = runs.counts()
    target = LeafTarget(sizes.list_size, seed)

    def train(bucket: int) -> int:
        path = folder / f"{bucket:05d}.npy"
        if not path.exists():
            rows = bucket_sample(runs, bucket, int(counts[bucket]), most_rows)
            save_array(path, train_leaves(rows, int(counts[bucket]), target, coarse[max(0, bucket - 1)]))
        return bucket

    for bucket in workers.map(train, (int(bucket) for bucket in np.flatnonzero(counts))):
        tick(float(counts[: bucket + 1].sum() / counts.sum()))


def load_leaves(folder: Path, num_buckets: int) -> tuple[Float32Array, Int64Array]:
    """Return all leaves float32 [num_centroids, dim], bucket by bucket, and where each bucket's begin [num_buckets +
    1]."""
    parts, begins = [], [0]
    for bucket in range(num_buckets):
        path = folder / f"{bucket:05d}.npy"
        if path.exists():
            parts.append(np.load(path))
        begins.append(begins[-1] + (len(parts[-1]) if path.exists() else 0))
    return np.concatenate(parts), np.array(begins, np.int64)
