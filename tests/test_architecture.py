"""The tour in ARCHITECTURE.md leads to files that exist and passes every folder of code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOUR = ROOT / "ARCHITECTURE.md"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = {".py", ".cpp", ".hpp"}
MADE = {"build", "dist", "demo-data"}


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs", "bench"])
def test_every_linked_path_exists(page: str) -> None:
    pages = sorted((ROOT / page).rglob("*.md")) if (ROOT / page).is_dir() else [ROOT / page]

    broken = [
        f"{file.relative_to(ROOT)}: {link}"
        for file in pages
        for link in LINK.findall(file.read_text())
        if "://" not in link and not (file.parent / link).exists()
    ]

    assert broken == []


def test_the_tour_passes_every_folder_of_code() -> None:
    text = TOUR.read_text()

    unknown = [folder for folder in _folders_of_code() if f"`{folder}/`" not in text]

    assert unknown == []


def test_every_module_of_the_engine_is_on_the_tour() -> None:
    linked = set(LINK.findall(TOUR.read_text()))

    missing = [
        str(file.relative_to(ROOT))
        for folder in ("ann", "gnn_loader", "store")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file.name != "__init__.py" and str(file.relative_to(ROOT)) not in linked
    ]

    assert missing == []


def _folders_of_code() -> list[str]:
    """Folders with code, relative to the root; what lies below tests/ mirrors them and counts as tests."""
    folders = set()
    for top in ROOT.iterdir():
        if top.is_dir() and not top.name.startswith(".") and top.name not in MADE:
            folders |= {file.parent for file in top.rglob("*") if file.suffix in CODE}
    names = {folder.relative_to(ROOT) for folder in folders}
    return sorted({"tests" if name.parts[0] == "tests" else str(name) for name in names})
