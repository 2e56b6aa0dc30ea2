"""Small generated sets, and a collection built from one by the command line."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from outcrop.cli.app import app
from outcrop.datasets.generate import VectorGenerator
from outcrop.datasets.ground_truth import exact_ground_truth, write_ground_truth
from outcrop.datasets.vectors import write_vectors

Outcrop = Callable[..., Result]


@pytest.fixture(scope="session")
def outcrop() -> Outcrop:
    """Run the command line with these arguments."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def ok(outcrop: Outcrop) -> Callable[..., Any]:
    """Run the command line with --json, expect success, and return the document."""

    def run(*arguments: object) -> Any:
        result = outcrop(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, ok: Callable[..., Any]) -> SimpleNamespace:
    """Vectors on disk, queries for them, the true neighbours of those, and a root with the collection `tiny`."""
    folder = tmp_path_factory.mktemp("tiny")
    files = SimpleNamespace(
        vectors=folder / "base.u8bin",
        queries=folder / "queries.u8bin",
        ground_truth=folder / "neighbors.gt",
        root=folder / "root",
    )
    base = VectorGenerator(3000, 32, "uint8", seed=5)
    queries = base.queries(40)
    write_vectors(files.vectors, base)
    write_vectors(files.queries, queries)
    write_ground_truth(files.ground_truth, exact_ground_truth(base, queries, 20))
    ok("build", "tiny", files.vectors, "--memory", "32MiB", "--threads", "2", "--path", files.root)
    return files
