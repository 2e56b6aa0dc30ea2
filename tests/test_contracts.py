"""The layers of ARCHITECTURE.md as tests: who may import whom."""

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "store", "ann", "gnn_loader", "server", "client", "cli", "datasets")
ADAPTERS_ONLY = {"torch", "dgl", "torch_geometric"}


def test_imports_point_down(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if not _installed_as_one_folder():
        pytest.skip("an editable install spreads the package over folders, which import-linter does not follow")
    monkeypatch.setattr(sys, "path", sys.path.copy())  # lint_imports puts the working folder in front

    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)

    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_native_is_the_one_door_to_the_core() -> None:
    inside = {file for file, name in _imports() if name.startswith("outcrop._core")}

    assert inside <= {ROOT / "src/outcrop/native.py"}


def test_learning_frameworks_stay_in_their_adapters() -> None:
    importers = {file for file, name in _imports() if name.split(".")[0] in ADAPTERS_ONLY}

    assert {file for file in importers if file.parent != ROOT / "gnn_loader/adapters"} == set()


def _installed_as_one_folder() -> bool:
    package = find_spec("outcrop")
    return package is not None and package.origin is not None and Path(package.origin).with_name("store").is_dir()


def _imports() -> Iterator[tuple[Path, str]]:
    """Every file of the package with every module, or name in a module, that it imports."""
    for file in (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(), str(file))):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((file, f"{node.module}.{alias.name}") for alias in node.names)
