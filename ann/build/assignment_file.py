"""The file of a build that says which centroids hold each vector."""

import json
import os
from pathlib import Path
from typing import IO

import numpy as np

from outcrop.ann.build.assignment import Neighbourhood, Rule, distances_of
from outcrop.ann.build.scan import Tick
from outcrop.ann.workers import Workers
from outcrop.store import SortedRuns, save_array, write_atomically
from outcrop.types import AnyArray, Float32Array, Int32Array, Int64Array, as_float32

_BATCH_ROWS = 8192
# The work is saved about this often.
_CHECKPOINTS = 32


class AssignmentFile:
    """The centroids that hold every vector, in bucket order, int32 [num_rows, copies]; written bucket by bucket,
    resumable.

    radius: float32 [num_centroids], the Euclidean distance from each centroid to its farthest entry so far.
    """

    def __init__(self, folder: Path, num_rows: int, rule: Rule, num_centroids: int) -> None:
        """Open or create the assignment of a build."""
        self.rule = rule
        self.num_rows = num_rows
        self._path = folder / "assigned.i32"
        self._note = folder / "assigned.json"
        self._radius_path = folder / "radius.npy"
        self.radius = np.zeros(num_centroids, np.float32)
        self.rows_done = 0
        if self._note.exists():
            self.rows_done = int(json.loads(self._note.read_text())["rows_done"])
            self.radius = np.load(self._radius_path)
        else:
            self._path.touch()

    def run(self, runs: SortedRuns, neighbourhood: Neighbourhood, workers: Workers, tick: Tick) -> None:
        """Assign what is not assigned yet, and remember how far each centroid's entries reach."""
        begins = np.concatenate([[0], np.cumsum(runs.counts())])
        first = int(np.searchsorted(begins, self.rows_done, side="right")) - 1
        batches = (
            rows for bucket in range(first, runs.num_partitions) for _, rows in runs.batches(bucket, _BATCH_ROWS)
        )
        done = int(begins[first])
        bucket_ends = set(begins.tolist())
        with self._path.open("r+b") as file:
            file.seek(done * self.rule.copies * 4)
            for chosen, lengths in workers.map(lambda rows: self._assign(rows, neighbourhood), batches):
                chosen.tofile(file)
                np.maximum.at(self.radius, chosen[chosen >= 0], lengths[chosen >= 0])
                done += len(chosen)
                if done in bucket_ends and done - self.rows_done >= self.num_rows // _CHECKPOINTS:
                    self._save(file, done)
                tick(done / self.num_rows)
            if done > self.rows_done:
                self._save(file, done)

    def _assign(self, rows: AnyArray, neighbourhood: Neighbourhood) -> tuple[Int32Array, Float32Array]:
        """Return the chosen centroids of a batch of rows, and the Euclidean distance to each."""
        floats = as_float32(rows)
        candidates, distances = neighbourhood.candidates(floats)
        chosen = neighbourhood.choose(self.rule, floats, candidates, distances)
        return chosen, np.sqrt(distances_of(chosen, candidates, distances))

    def _save(self, file: IO[bytes], rows_done: int) -> None:
        file.flush()
        os.fsync(file.fileno())
        save_array(self._radius_path, self.radius)
        write_atomically(self._note, json.dumps({"rows_done": rows_done}).encode())
        self.rows_done = rows_done

    def read(self, start: int, stop: int) -> Int32Array:
        """Return the centroids of vectors [start, stop) in bucket order."""
        with self._path.open("rb") as file:
            file.seek(start * self.rule.copies * 4)
            count = (stop - start) * self.rule.copies
            return np.fromfile(file, np.int32, count).reshape(stop - start, self.rule.copies)

    def counts(self, start: int, stop: int, num_centroids: int) -> tuple[Int64Array, Int64Array]:
        """Return (primary entries, copies) per centroid that vectors [start, stop) make, int64 [num_centroids]."""
        primary = np.zeros(num_centroids, np.int64)
        copies = np.zeros(num_centroids, np.int64)
        for begin in range(start, stop, 1 << 18):
            chosen = self.read(begin, min(stop, begin + (1 << 18)))
            primary += np.bincount(chosen[:, 0], minlength=num_centroids)
            others = chosen[:, 1:]
            copies += np.bincount(others[others >= 0], minlength=num_centroids)
        return primary, copies

    def holders(self, positions: Int64Array) -> Int32Array:
        """Return the centroids of single vectors by their places in bucket order, int32 [n, copies]."""
        chosen = np.memmap(self._path, np.int32, "r", shape=(self.num_rows, self.rule.copies))
        return np.array(chosen[positions])
