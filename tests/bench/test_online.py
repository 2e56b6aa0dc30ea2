"""The benchmark of online minibatches runs, and one sweep for several reads fewer bytes."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "online" / "run.py"


def test_the_small_workload_runs_and_one_pass_for_several_reads_less(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--small", "--json", "--folder", str(tmp_path)]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)

    found = {row["variant"]: row for row in result["online"]}
    assert found["one sweep for several"]["sweeps"] < found["victim buffer on disk"]["sweeps"]
    assert found["one sweep for several"]["device_bytes"] < found["victim buffer in memory"]["device_bytes"]
