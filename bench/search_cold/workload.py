"""What is searched: vectors, queries, their true neighbours, and the recall of an answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outcrop.datasets.generate import VectorGenerator
from outcrop.datasets.ground_truth import exact_ground_truth
from outcrop.errors import NotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with the test tools

FOLDER = Path(__file__).with_name("workloads")
_TRUE_NEIGHBORS = 100
# Two ways of summing a distance of unit vectors differ by this much; true ties are exact in bytes.
_TIE = 1e-6

Rows = npt.NDArray[Any]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Workload:
    """One file of workloads/. files: arrays below the data folder; generated: rows, dimension and seed instead."""

    name: str
    metric: str
    dtypes: tuple[str, ...]
    k: int
    num_queries: int
    recalls: tuple[float, ...]
    files: dict[str, str]
    generated: dict[str, int]

    @staticmethod
    def load(name: str) -> Workload:
        """Read workloads/<name>.toml."""
        path = FOLDER / f"{name}.toml"
        if not path.exists():
            known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
            raise NotFound(f"workload {name}: expected one of {known}")
        value = tomllib.loads(path.read_text())
        return Workload(
            name=value["name"],
            metric=value["metric"],
            dtypes=tuple(value["dtypes"]),
            k=value["k"],
            num_queries=value["num_queries"],
            recalls=tuple(value["recalls"]),
            files=value.get("files", {}),
            generated=value.get("generated", {}),
        )

    def is_there(self, data: Path) -> bool:
        """Whether all its files are."""
        return all((data / file).exists() for file in self.files.values())

    def small(self) -> Workload:
        """The same on so little that it takes seconds: it shows that everything runs, and measures nothing."""
        generated = {"num_rows": 6000, "dim": 32, "seed": 1}
        return replace(self, num_queries=60, recalls=(0.9, 0.95), files={}, generated=generated)


@dataclass(frozen=True, slots=True)
class Dataset:
    """base [n, dim], queries [m, dim]; true_distances float32 [m, >= k]: squared for l2, 1 - cosine; ascending."""

    base: Rows
    queries: Rows
    true_distances: npt.NDArray[np.float32]
    metric: str

    @property
    def dim(self) -> int:
        """The dimension of the vectors."""
        return int(self.base.shape[1])

    def recall(self, ids: Int64Array, first_query: int, k: int) -> float:
        """Return the mean recall@k of ids [n, k], found for queries from `first_query` on; tolerant of ties.

        Distances are computed here, in float64 from the vectors as given, so that no system is measured by its own.
        """
        distances = np.stack([self._distances(self.queries[first_query + row], found) for row, found in enumerate(ids)])
        bound = self.true_distances[first_query : first_query + len(ids), k - 1 : k].astype(np.float64)
        right = (distances <= bound + _TIE * np.maximum(1, np.abs(bound))) & (ids >= 0)
        for row in ids:
            real = row[row >= 0]
            assert len(np.unique(real)) == len(real), "a neighbour counts once"
        return float(np.minimum(right.sum(axis=1), k).mean() / k)

    def _distances(self, query: Rows, ids: Int64Array) -> npt.NDArray[np.float64]:
        rows, q = self.base[np.maximum(ids, 0)].astype(np.float64), query.astype(np.float64)
        if self.metric == "cosine":  # of vectors whose length is 1 up to the rounding of float16, as the truth has it
            return np.asarray(1 - rows @ q)
        return np.asarray(((rows - q) ** 2).sum(axis=1))


def load_dataset(workload: Workload, data: Path) -> Dataset:
    """Read or generate a workload's vectors and truth."""
    return _from_files(workload, data) if workload.files else _generated(workload)


def _from_files(workload: Workload, data: Path) -> Dataset:
    arrays = {name: np.load(data / file, mmap_mode="r") for name, file in workload.files.items()}
    n = workload.num_queries
    base = arrays["base"][arrays["base_rows"]] if "base_rows" in arrays else arrays["base"]
    queries = arrays["queries"][arrays["query_rows"]] if "query_rows" in arrays else arrays["queries"]
    truth = arrays["true_distances"] if "true_distances" in arrays else 1 - arrays["true_similarities"]
    return Dataset(base, np.asarray(queries[:n]), np.asarray(truth[:n], np.float32), workload.metric)


def _generated(workload: Workload) -> Dataset:
    size = workload.generated
    source = VectorGenerator(size["num_rows"], size["dim"], workload.dtypes[0], size["seed"])
    base = source.read(0, source.num_rows)
    queries = source.queries(workload.num_queries).read(0, workload.num_queries)
    truth = exact_ground_truth(base, queries, _TRUE_NEIGHBORS, workload.metric)  # type: ignore[arg-type]
    return Dataset(base, queries, truth.distances, workload.metric)
