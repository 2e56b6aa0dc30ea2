"""The benchmark of accuracy runs, and what comes from SSD is learned on a small graph as well as what is in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

pytest.importorskip("torch")

BENCH = Path(__file__).parents[2] / "bench" / "accuracy" / "run.py"


def run(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", str(BENCH), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_loader_and_codec_learns_a_small_graph() -> None:
    results = run("--small")["results"]

    accuracies = {f"{row['mode']}/{row['codec']}": mean(row["accuracies"]) for row in results}
    loaders = {"memory/raw", "fetch/raw", "replay/raw", "fresh/raw", "online/raw"}
    assert accuracies.keys() == loaders | {"fetch/float16", "fetch/bfloat16", "fetch/int8"}
    worst = min(accuracies.values())
    assert worst > 0.8, accuracies  # a guess finds a quarter
    assert worst > accuracies["memory/raw"] - 0.03, accuracies  # one run each of 1,800 held-out nodes
    bytes_of_row = {row["codec"]: row["row_bytes"] for row in results}
    assert bytes_of_row == {"raw": 64, "float16": 32, "bfloat16": 32, "int8": 20}


@pytest.mark.slow
def test_cora_is_learned_within_half_a_point_of_memory() -> None:
    results = run("--graphs", "cora")["results"]
    if not results:
        pytest.skip("needs ../shared/data/cora")

    accuracies = {f"{row['mode']}/{row['codec']}": 100 * mean(row["accuracies"]) for row in results}
    for name, accuracy in accuracies.items():
        assert accuracy > accuracies["memory/raw"] - 0.5, (name, accuracies)
