"""The micro-benchmark of calls runs, on few rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).parents[2] / "bench" / "overhead" / "run.py"


def test_the_small_run_reports_every_call() -> None:
    command = [sys.executable, str(RUNNER), "--small", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(found["searches"]) == {"1", "8", "64"}
    for parts in found["searches"].values():
        assert parts["total"] > parts["core"] > 0
        assert parts["rest"] > 0
    assert all(taken > 0 for taken in found["calls_us"].values())
