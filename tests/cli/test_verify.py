"""`outcrop verify` says that an index is good, or which file and block is not, and exits with 4."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

import outcrop as engine
from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


@pytest.fixture
def copied(files: SimpleNamespace, tmp_path: Path) -> Path:
    """A root of one's own to damage."""
    return Path(shutil.copytree(files.root, tmp_path / "root"))


def find(root: Path, name: str) -> Path:
    return next(root.rglob(name))


def test_a_good_index_is_told_so(ok: Ok, outcrop: Outcrop, files: SimpleNamespace) -> None:
    (report,) = ok("verify", "--path", files.root)

    assert report["problems"] == []
    assert report["reachability_checked"] is True
    assert report["num_rows"] == 3000
    assert "all 3,000 vectors reachable" in outcrop("verify", "tiny", "--path", files.root).stdout


@pytest.mark.parametrize("name", ["postings.blk", "directory.blk", "centroid_index.blk", "centroids.blk"])
def test_a_flipped_bit_is_named_by_file_and_block(outcrop: Outcrop, copied: Path, name: str) -> None:
    with find(copied, name).open("r+b") as file:
        file.seek(4096 + 17)
        (byte,) = file.read(1)
        file.seek(4096 + 17)
        file.write(bytes([byte ^ 4]))

    result = outcrop("verify", "tiny", "--path", copied, "--json")

    (report,) = json.loads(result.stdout)
    assert result.exit_code == ExitCode.CORRUPT
    assert [(problem["file"], problem["block"]) for problem in report["problems"]] == [(name, 1)]
    assert report["reachability_checked"] is False


def test_a_truncated_file_is_reported(outcrop: Outcrop, copied: Path) -> None:
    path = find(copied, "postings.blk")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)

    result = outcrop("verify", "--path", copied)

    assert result.exit_code == ExitCode.CORRUPT
    assert "CORRUPT, 1 problems" in result.stdout
    assert "postings.blk" in result.stdout


def test_a_collection_without_a_version_is_nothing_to_verify(outcrop: Outcrop, tmp_path: Path) -> None:
    with engine.connect(tmp_path) as database:
        database.create_collection("empty", dim=3)

    assert outcrop("verify", "--path", tmp_path).stderr == "empty: holds nothing yet\n"
    assert outcrop("verify", "empty", "--path", tmp_path).exit_code == ExitCode.NOT_FOUND


def test_wrong_input_is_one_line_and_an_exit_code(outcrop: Outcrop, files: SimpleNamespace, tmp_path: Path) -> None:
    for arguments, code in (
        (("nothing", "--path", files.root), ExitCode.NOT_FOUND),
        (("--path", tmp_path / "nothing"), ExitCode.NOT_FOUND),
        (("tiny", "--memory", "64KiB", "--path", files.root), ExitCode.UNAVAILABLE),
    ):
        result = outcrop("verify", *arguments)

        assert result.exit_code == code, result.output
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
