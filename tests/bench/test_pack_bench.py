"""The benchmark of packing runs, on little data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def test_packing_is_measured_for_caches_and_epochs(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "pack" / "run.py"), "--small", "--json", "--out", str(tmp_path)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

    found = json.loads(output)

    assert found == json.loads((tmp_path / "pack.json").read_text())
    records = {(record["share"], record["epochs"]): record for record in found["records"]}
    assert set(records) == {(0.05, 1), (0.05, 2), (0.5, 1), (0.5, 2)}
    assert records[0.5, 1]["misses"] < records[0.05, 1]["misses"] < records[0.05, 2]["misses"]
    for record in records.values():
        assert record["rows_written_bytes"] >= record["misses"] * 32 * 4
        assert record["disk_bytes"] > record["log_bytes"]
        assert record["peak_bytes"] < 150 << 20
