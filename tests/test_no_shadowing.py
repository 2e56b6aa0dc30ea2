"""Work inside a checkout still finds the `datasets` and `proto` that other projects install.

The folders of those names here have no `__init__.py`: Python prefers a regular package anywhere on the path.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("datasets", "proto")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables that put stand-ins for both distributions behind the checkout, as site-packages is."""
    for name in NAMES:
        package = tmp_path / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("WHO = 'the installed distribution'\n")
        metadata = tmp_path / "site" / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path / "site")])}


def run(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_program_run_in_the_checkout_imports_the_installed_distribution(
    name: str, environment: dict[str, str]
) -> None:
    # `-c` and `-m` put the working folder in front of everything, ahead of PYTHONPATH.
    assert run(["-c", f"import {name}; print({name}.WHO)"], environment) == "the installed distribution\n"


def test_tests_run_in_the_checkout_import_the_installed_distributions(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    test = tmp_path / "test_neighbours.py"
    test.write_text("import datasets, proto\n\ndef test_who():\n    assert datasets.WHO == proto.WHO\n")

    printed = run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test)], environment)

    assert "1 passed" in printed


@pytest.mark.parametrize("name", NAMES)
def test_our_folders_of_those_names_are_no_packages_of_their_own(name: str) -> None:
    assert not (ROOT / name / "__init__.py").exists()


def test_ours_is_found_inside_outcrop(environment: dict[str, str]) -> None:
    program = "import datasets, outcrop.datasets.vectors as ours; print(ours.open_vectors.__module__, datasets.WHO)"

    assert run(["-c", program], environment) == "outcrop.datasets.vectors the installed distribution\n"
