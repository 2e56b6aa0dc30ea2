"""The benchmark of fresh epochs runs; with a trainer, plans are made behind it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "fresh" / "run.py"


def test_the_small_workload_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, str(BENCH), "--small", "--json", "--folder", str(tmp_path)]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    for what in ("loading", "training"):
        first, *others = result[what]
        assert first["hidden"] < 0.5
        assert all(epoch["misses"] < first["misses"] for epoch in others)  # the cache is carried on
