import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outcrop
from outcrop.ann.build import progress
from outcrop.embedded import Collection, Database

# More centroids than any collection here has: every list is probed.
ALL = 1 << 20


@pytest.fixture
def seed() -> int:
    """A new seed each run, printed when the test fails."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    return seed


@pytest.fixture
def random_numbers(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def no_wait_for_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is lost here; what would be then is tested in tests/store."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with outcrop.connect(tmp_path / "root", memory="64MiB", threads=2, reader="memory") as database:
        yield database


@pytest.fixture
def built(database: Database) -> Callable[..., Collection]:
    """built(vectors, metric=..., ids=..., name=..., **build options): a collection of these vectors.

    `calibration_queries=None` calibrates as users' builds do."""

    def build(
        vectors: Any,
        metric: str = "l2",
        dtype: str | None = None,
        id_type: str = "int64",
        name: str = "c",
        ids: Any = None,
        **options: Any,
    ) -> Collection:
        dtype = dtype or str(vectors.dtype)
        if len(vectors) > 50:  # few, so that calibration is quick
            options.setdefault("calibration_queries", vectors[:6])
        collection = database.create_collection(name, dim=vectors.shape[1], metric=metric, dtype=dtype, id_type=id_type)
        collection.build(vectors, ids, memory="64MiB", threads=2, **options).wait()
        return collection

    return build


@pytest.fixture
def every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds report each step, however short."""
    monkeypatch.setattr(progress, "_REPORT_EVERY_SECONDS", 0.0)


def random_vectors(random: np.random.Generator, n: int, dim: int, dtype: str) -> np.ndarray:
    """A few clusters, so that lists differ; integers in the whole range of their type."""
    centers = random.normal(size=(max(1, min(8, n // 4)), dim))
    rows = centers[random.integers(0, len(centers), n)] + 0.4 * random.normal(size=(n, dim))
    if dtype in ("uint8", "int8"):
        bounds = np.iinfo(dtype)
        middle = (bounds.max + bounds.min) / 2
        return np.clip(np.rint(middle + 45 * rows), bounds.min, bounds.max).astype(dtype)
    return rows.astype(dtype)


def true_distances(metric: str, stored: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """All distances float64 [num_queries, n], by the definition."""
    x, q = stored.astype(np.float64), np.atleast_2d(queries).astype(np.float64)
    if metric == "l2":
        return ((q[:, None, :] - x[None, :, :]) ** 2).sum(axis=2)
    if metric == "cosine":
        q = q / np.linalg.norm(q, axis=1, keepdims=True)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return 1 - q @ x.T
    return -(q @ x.T)


# Distances of codes, of the vectors that these tests make.
OF_CODES = 0.02


def assert_nearest(
    found: Any, true: np.ndarray, k: int, ids: np.ndarray | None = None, tolerance: float | None = None
) -> None:
    """The result is what brute force gives, any of equally near vectors allowed.

    true: distances of all vectors [num_queries, n]; ids: of the vectors, by default their rows. tolerance: relative to
    the largest distance.
    """
    if tolerance is None:
        tolerance = 2e-5 if found.exact_distances else OF_CODES
    n = true.shape[1]
    ids = np.arange(n) if ids is None else np.asarray(ids)
    row_of = {value: row for row, value in enumerate(ids.tolist())}
    present = min(k, n)
    assert found.ids.shape == found.distances.shape == (len(true), k)
    scale = tolerance * (1 + np.abs(true).max(axis=1, keepdims=True))
    expected = np.sort(true, axis=1)[:, :present]
    assert (np.abs(found.distances[:, :present] - expected) <= scale).all()
    missing = found.ids[:, present:]
    assert all(value in (-1, None) for value in missing.ravel().tolist())
    assert np.isinf(found.distances[:, present:]).all()
    for query, (row_ids, distances) in enumerate(zip(found.ids.tolist(), found.distances, strict=True)):
        kept = row_ids[:present]
        assert len(set(kept)) == present, f"query {query}: an id occurs twice"
        rows = [row_of[value] for value in kept]
        assert (np.abs(true[query, rows] - distances[:present]) <= scale[query]).all(), f"query {query}"
        assert (np.diff(distances[:present]) >= 0).all()


# Modules of tests do not import each other; they ask for these by name.
@pytest.fixture
def nearest_expected() -> Callable[..., None]:
    return assert_nearest


@pytest.fixture
def distances_by_definition() -> Callable[..., np.ndarray]:
    return true_distances


@pytest.fixture
def vectors(random_numbers: np.random.Generator) -> Callable[..., np.ndarray]:
    """vectors(n, dim, dtype): seeded by the test's printed seed."""
    return lambda n, dim, dtype="float32": random_vectors(random_numbers, n, dim, dtype)
