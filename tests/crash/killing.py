"""Processes that are killed while they work."""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def lines_until_killed(script: str, path: Path, delay_s: float) -> list[list[str]]:
    """Run `script` of this folder on `path`, kill it `delay_s` after it said `ready`; return its other lines, split."""
    with subprocess.Popen(
        [sys.executable, str(HERE / script), str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        assert process.poll() is None
        process.kill()
        return [line.split() for line in process.stdout.read().split("\n")[:-1]]
