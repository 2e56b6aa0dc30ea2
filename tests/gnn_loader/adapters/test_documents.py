"""The examples of docs/frameworks.md run, one behind the other as a reader would type them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "frameworks.md"
# What pyproject.toml tells pytest to leave alone.
IGNORED = ("`torch.jit.script` is deprecated", "Dataloader CPU affinity opt is not enabled")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="DGL's wheels end with Python 3.11")
def test_the_examples_for_frameworks_run(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    filters = "\n".join(f"warnings.filterwarnings('ignore', {re.escape(text)!r})" for text in IGNORED)
    program = f"import warnings\nwarnings.simplefilter('error')\n{filters}\n{code}\nassert len(reports) == 2\n"

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
