"""A process that builds versions of a collection until it is killed, or as many as it is told. Run by
test_build_killed.py.

Version n holds the vectors of `vectors_of(n)`. It prints the version that it begins to build, and when it is there.
"""

import sys

import numpy as np

import outcrop
from outcrop.ann.build import progress
from outcrop.types import Progress

ROWS, DIM = 3000, 24


def vectors_of(version: int) -> np.ndarray:
    """Every vector of a version tells its number: its first component lies around it."""
    rows = np.random.default_rng(version).normal(size=(ROWS, DIM)).astype(np.float32)
    rows[:, 0] = 100 * version + 0.1 * rows[:, 0]
    return rows


def main(path: str, versions: int = 1 << 30) -> None:
    progress._REPORT_EVERY_SECONDS = 0.0
    stage = ""

    def show(found: Progress) -> None:
        nonlocal stage
        if found.stage != stage:
            stage = found.stage
            print("stage", stage, flush=True)

    with outcrop.connect(path, threads=1, reader="pread", memory="32MiB") as database:
        names = [found.name for found in database.list_collections()]
        collection = database.collection("c") if names else database.create_collection("c", dim=DIM)
        print("ready", flush=True)
        for _ in range(versions):
            version = (collection.info().version or 0) + 1
            print("building", version, flush=True)
            job = collection.build(
                vectors_of(version),
                np.arange(ROWS) + 10**10 * version,
                memory="32MiB",
                code="sq8",
                num_centroids=60,
                calibration_queries=vectors_of(version)[:8],
            )
            job.wait(progress=show)
            print("built", version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
