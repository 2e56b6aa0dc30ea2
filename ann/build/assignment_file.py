"""The file of a build that says which centroids hold each vector."""

import json
import os
from pathlib import Path

import numpy as np

from outcrop.ann.build.assignment import Int32Array, Neighbourhood, Rule, distances_of
from outcrop.ann.build.scan import Tick
from outcrop.ann.scratch import SortedRuns, save_array, write_atomically
from outcrop.ann.spec import as_float32
from outcrop.types import Float32Array, Int64Array

_BATCH_ROWS = 16_384


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

    def run(self, runs: SortedRuns, neighbourhood: Neighbourhood, num_threads: int, tick: Tick) -> None:
        """Assign what is not assigned yet, and remember how far each centroid's entries reach."""
        begins = np.concatenate([[0], np.cumsum(runs.counts())])
        first = int(np.searchsorted(begins, self.rows_done, side="right")) - 1
        checkpoint_every = max(1, self.num_rows // 32)
        saved = self.rows_done
        for bucket in range(first, runs.num_partitions):
            with self._path.open("r+b") as file:
                file.seek(int(begins[bucket]) * self.rule.copies * 4)
                for _, rows in runs.batches(bucket, _BATCH_ROWS):
                    self._assign(as_float32(rows), neighbourhood, num_threads).tofile(file)
            done = int(begins[bucket + 1])
            if done - saved >= checkpoint_every or bucket + 1 == runs.num_partitions:
                self._save(done)
                saved = done
            tick(done / self.num_rows)

    def _assign(self, rows: Float32Array, neighbourhood: Neighbourhood, num_threads: int) -> Int32Array:
        candidates, distances = neighbourhood.candidates(rows)
        chosen = neighbourhood.choose(self.rule, rows, candidates, distances, num_threads)
        lengths = np.sqrt(distances_of(chosen, candidates, distances))
        np.maximum.at(self.radius, chosen[chosen >= 0], lengths[chosen >= 0])
        return chosen

    def _save(self, rows_done: int) -> None:
        with self._path.open("rb") as file:
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
