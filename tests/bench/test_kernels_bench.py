"""The micro-benchmark of the kernels runs, on few bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).parents[2] / "bench" / "kernels" / "run.py"


def test_the_small_run_reports_a_speed_for_every_kernel() -> None:
    command = [sys.executable, str(RUNNER), "--small", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    workload = json.loads(RUNNER.with_name("workload.json").read_text())
    assert {scan["kernel"] for scan in found["scans"]} == {scan["kernel"] for scan in workload["scans"]}
    assert all(scan["gb_per_s"]["scalar"] > 0 for scan in found["scans"])
    assert [selection["k"] for selection in found["top_k"]] == workload["top_k"]["ks"]
