"""The Python in the README runs."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs_and_finds_the_queries_themselves(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    checked = code + "\nassert (hits.ids[:, 0] == [0, 1, 2]).all(), hits.ids\nassert hits.usage.reads > 0\nassert minibatch.batch == 7\n"
    subprocess.run([sys.executable, "-W", "error", "-c", checked], cwd=tmp_path, check=True, timeout=300)
