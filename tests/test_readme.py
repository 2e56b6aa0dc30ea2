"""The Python in the README runs."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs_and_finds_the_queries_themselves(tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    claims = ("(hits.ids[:, 0] == [0, 1, 2]).all()", "hits.usage.reads > 0", "minibatch.batch == 7")
    checked = "\n".join([code, *(f"assert {claim}" for claim in claims)])
    subprocess.run([sys.executable, "-W", "error", "-c", checked], cwd=tmp_path, check=True, timeout=300)
