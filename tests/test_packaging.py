"""What an install puts into a user's environment, and the neighbours that it leaves alone."""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The continuous integration installs the real HuggingFace `datasets` and proto-plus `proto` here; test_no_shadowing.py
# does the same with stand-ins everywhere.
NEIGHBOURS = ROOT / "build" / "neighbours"


@pytest.mark.skipif(not NEIGHBOURS.is_dir(), reason="needs the packages that .ci/run installs to build/neighbours")
@pytest.mark.parametrize("name", ["datasets", "proto"])
def test_the_real_packages_of_those_names_are_found_from_the_checkout(name: str) -> None:
    program = f"import sys, importlib.util; sys.path[:0] = {[str(ROOT), str(NEIGHBOURS)]!r}; "
    program += f"print(importlib.util.find_spec({name!r}).origin)"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert Path(found.stdout.strip()) == NEIGHBOURS / name / "__init__.py"


def test_an_install_adds_one_package_and_one_command() -> None:
    files = distribution("outcrop").files or []
    folders = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info") and file.parts[0] != ".."}

    assert {folder for folder in folders if not folder.startswith("_")} == {"outcrop"}
    assert [entry.name for entry in distribution("outcrop").entry_points] == ["outcrop"]
