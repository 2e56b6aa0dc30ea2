"""The benchmark of the sampler runs, on little data, and counts what minibatches hold."""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Any

import pytest

RUNNER = Path(__file__).parents[2] / "bench" / "sample" / "run.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    command = [
        sys.executable,
        str(RUNNER),
        "--small",
        "--json",
        "--rounds",
        "1",
        "--data",
        str(folder),
        "--out",
        str(folder),
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(printed)
    assert result == json.loads((folder / "sample.json").read_text())
    return result


def test_every_method_is_measured_with_each_number_of_threads(found: dict[str, Any]) -> None:
    ours = {(r["method"], r["threads"]) for r in found["rounds"] if r["system"] == "outcrop"}

    methods = ("uniform", "with replacement", "each node once", "weighted", "labor")
    assert ours == {(method, threads) for method in methods for threads in (1, 2)}
    assert all(r["seconds"] > 0 for r in found["rounds"])


def test_threads_draw_the_same_edges(found: dict[str, Any]) -> None:
    uniform = [r for r in found["rounds"] if r["system"] == "outcrop" and r["method"] == "uniform"]

    assert len({(r["minibatches"], r["edges"], r["rows"]) for r in uniform}) == 1
    assert uniform[0]["minibatches"] == 8
    assert uniform[0]["edges"] > uniform[0]["rows"] > 0


def test_dgl_draws_about_as_many_edges(found: dict[str, Any]) -> None:
    pytest.importorskip("dgl")

    for method in ("uniform", "with replacement", "weighted"):
        edges = {r["system"]: r["edges"] for r in found["rounds"] if r["method"] == method and r["threads"] == 2}
        assert edges["dgl"] == pytest.approx(edges["outcrop"], rel=0.02)


def test_the_table_has_a_row_for_each_system_and_method(found: dict[str, Any]) -> None:
    spec = util.spec_from_file_location("sample_run", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    runner = util.module_from_spec(spec)
    sys.modules["sample_run"] = runner
    spec.loader.exec_module(runner)

    lines = runner.table([runner.Round(**record) for record in found["rounds"]]).splitlines()

    assert len(lines) == 2 + len({(r["threads"], r["method"], r["system"]) for r in found["rounds"]})
    assert lines[2].startswith("| 1 | uniform | outcrop | ")
