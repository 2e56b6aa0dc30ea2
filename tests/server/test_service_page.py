"""The examples of docs/service.md run, one behind the other as a reader would type them."""

import re
import subprocess
import sys
from pathlib import Path

from tests.serving import serving

PAGE = Path(__file__).parents[2] / "docs" / "service.md"


def test_the_examples_for_programs_run(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    with serving(tmp_path / "root") as server:
        program = code.replace("grpc://127.0.0.1:7443", server.url)
        assert program != code

        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert done.returncode == 0, done.stderr
    assert "the deadline" in done.stdout
