"""The Python in the README runs."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_python_of_the_readme_runs_and_finds_the_queries_themselves(tmp_path: Path) -> None:
    [with_server] = [block for block in BLOCKS if "grpc://" in block]
    served = with_server.replace('"grpc://127.0.0.1:7443"', "server.url")
    claims = (
        "(hits.ids[:, 0] == [0, 1, 2]).all()",
        "hits.usage.reads > 0",
        "minibatch.batch == 7",
        "(found.ids == hits.ids).all()",
        "len(served) == 8",
    )
    program = [
        *(block for block in BLOCKS if block != with_server),
        "import pathlib\nfrom tests.serving import serving",
        "with serving(pathlib.Path('data')) as server:",
        textwrap.indent(served, "    "),
        *(f"assert {claim}" for claim in claims),
    ]

    command = [sys.executable, "-W", "error", "-c", "\n".join(program)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
