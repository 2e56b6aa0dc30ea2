"""What an install puts into a user's environment, and what it leaves alone."""

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The continuous integration installs the real HuggingFace `datasets` and proto-plus `proto` here.
REAL_NEIGHBOURS = ROOT / "build" / "neighbours"


@pytest.fixture(params=["stand-ins", "real"])
def neighbours(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with regular packages called `datasets` and `proto`, as other projects install them."""
    if request.param == "real":
        if not REAL_NEIGHBOURS.is_dir():
            pytest.skip(f"pip install --no-deps --target {REAL_NEIGHBOURS.relative_to(ROOT)} datasets proto-plus")
        return REAL_NEIGHBOURS
    for name in ("datasets", "proto"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["datasets", "proto"])
def test_the_checkout_does_not_shadow_packages_of_the_same_name(name: str, neighbours: Path) -> None:
    # The checkout comes first on the path, as it does for `python -m` run in it.
    program = f"import sys, importlib.util; sys.path[:0] = {[str(ROOT), str(neighbours)]!r}; "
    program += f"print(importlib.util.find_spec({name!r}).origin)"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert Path(found.stdout.strip()) == neighbours / name / "__init__.py"


def test_an_install_adds_one_package_and_one_command() -> None:
    files = distribution("outcrop").files or []
    folders = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info") and file.parts[0] != ".."}

    assert {folder for folder in folders if not folder.startswith("_")} == {"outcrop"}
    assert [entry.name for entry in distribution("outcrop").entry_points] == ["outcrop"]
