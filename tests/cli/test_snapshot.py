"""`outcrop snapshot` keeps, exports, checks and restores."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


@pytest.fixture
def root(ok: Ok, tmp_path: Path) -> Path:
    """A root with two versions of the table `x`; the first one is in the snapshot `monday`."""
    for version in (1, 2):
        np.save(tmp_path / "rows.npy", np.full((50, 6), version, np.float32))
        ok("features", "import", "x", tmp_path / "rows.npy", "--path", tmp_path / "root")
        if version == 1:
            ok("snapshot", "create", "monday", "--path", tmp_path / "root")
    return tmp_path / "root"


def version_of(ok: Ok, root: Path, name: str = "x") -> int:
    version: int = ok("features", "stats", name, "--path", root)["version"]
    return version


def test_what_is_kept_is_listed_with_its_versions(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    (listed,) = ok("snapshot", "list", "--path", root)
    assert listed["name"] == "monday"
    assert [(each["kind"], each["name"], each["version"]) for each in listed["objects"]] == [("features", "x", 1)]
    assert ok("snapshot", "list", "monday", "--path", root) == listed
    text = outcrop("snapshot", "list", "--path", root).stdout
    assert re.search(r"monday +\d{4}-\d\d-\d\d .* 1 ", text)


def test_a_snapshot_goes_to_a_file_and_comes_back_elsewhere(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    file = root.parent / "monday.snapshot"
    written = ok("snapshot", "export", "monday", file, "--path", root)
    assert written["size_bytes"] == file.stat().st_size
    elsewhere = root.parent / "elsewhere"
    assert ok("snapshot", "verify", file, "--path", elsewhere)["problems"] == []
    assert not elsewhere.exists(), "an archive is verified without a root"

    restored = ok("snapshot", "restore", file, "--rename", "x=y", "--path", elsewhere)
    assert restored["objects"] == [{"kind": "features", "name": "y", "version": 1}]
    assert version_of(ok, elsewhere, "y") == 1
    again = outcrop("snapshot", "export", "monday", file, "--path", root)
    assert again.exit_code == ExitCode.USAGE
    assert "replaces nothing" in again.stderr


def test_an_old_version_becomes_the_current_one_again(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    result = outcrop("snapshot", "restore", "monday", "--object", "features/x", "--path", root)
    assert result.exit_code == 0
    assert "features/x: version 3" in result.stdout
    assert version_of(ok, root) == 3


def test_damage_is_told_by_the_exit_code(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    (path,) = root.glob("features/*/v000001/*.blk")
    data = bytearray(path.read_bytes())
    data[4100] ^= 1
    path.write_bytes(data)
    assert ok("snapshot", "list", "--path", root)
    result = outcrop("snapshot", "verify", "monday", "--path", root)
    assert result.exit_code == ExitCode.CORRUPT
    assert "block 1 at offset 4096" in result.stdout


def test_a_deleted_snapshot_is_gone_and_so_are_its_files(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    ok("snapshot", "delete", "monday", "--path", root)
    assert ok("snapshot", "list", "--path", root) == []
    assert not list(root.glob("features/*/v000001"))
    assert "no snapshots" in outcrop("snapshot", "list", "--path", root).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["create", "monday"], ExitCode.USAGE, "snapshot 'monday' exists"),
        (["create", "new", "--object", "x"], ExitCode.USAGE, "expected KIND/NAME"),
        (["create", "new", "--object", "graphs/x"], ExitCode.NOT_FOUND, "no graph 'x'"),
        (["restore", "tuesday"], ExitCode.NOT_FOUND, "no snapshot 'tuesday'"),
        (["restore", "./tuesday"], ExitCode.NOT_FOUND, "tuesday: no such file"),
        (["restore", "monday", "--rename", "x"], ExitCode.USAGE, "expected NAME=NEW"),
        (["delete", "tuesday"], ExitCode.NOT_FOUND, "no snapshot 'tuesday'"),
    ],
)
def test_mistakes_are_told(outcrop: Outcrop, root: Path, arguments: list[str], code: ExitCode, text: str) -> None:
    result = outcrop("snapshot", *arguments, "--path", root)
    assert result.exit_code == code
    assert text in result.stderr
