"""The benchmark of the server runs, on little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "bench" / "serve"


def run(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / script), "--json", *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout)
    return found


def test_the_small_run_measures_every_system(tmp_path: Path) -> None:
    found = run("run.py", "--small", "--out", str(tmp_path / "out"))

    assert set(found["one_query_us"]) == {"embedded", "bare", "served"}
    systems = {(each["system"], each["clients"]) for each in found["closed"]}
    assert systems == {(system, clients) for system in ("bare", "one by one", "batched") for clients in (1, 4)}
    for each in (*found["closed"], *found["open"]):
        assert set(each["codes"]) == {"OK"}
        assert 0 < each["p50_ms"] <= each["p99_ms"]
    assert (tmp_path / "out" / "serve.png").stat().st_size > 10_000


def test_the_small_overload_is_borne() -> None:
    found = run("overload.py", "--small")

    assert found["overload"]["codes"]["OK"] > 0
    assert set(found["afterwards"]["codes"]) == {"OK"}


@pytest.mark.slow
def test_twenty_seconds_of_overload_leave_what_is_admitted_quick() -> None:
    found = run("overload.py", "--seconds", "20")

    assert found["failures"] == []
