"""`outcrop verify` says that an index is good, or which file and block is not, and exits with 4."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
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


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A root with a graph and two feature tables, one of them called like the graph."""
    with engine.connect(tmp_path / "root") as database:
        edges = np.random.default_rng(1).integers(0, 900, (2, 5000))
        database.import_graph("g", edges).wait()
        for name in ("g", "x"):
            database.import_features(name, np.ones((900, 12), np.float32)).wait()
    return tmp_path / "root"


def test_graphs_and_features_are_verified_with_the_rest(ok: Ok, outcrop: Outcrop, stored: Path) -> None:
    reports = ok("verify", "--path", stored)

    assert [(report["kind"], report["name"]) for report in reports] == [
        ("graphs", "g"), ("features", "g"), ("features", "x"),
    ]  # fmt: skip
    assert all(report["problems"] == [] and report["contents_checked"] for report in reports)
    assert len(ok("verify", "g", "--path", stored)) == 2
    assert "x (features), version 1: good (1 files" in outcrop("verify", "x", "--path", stored).stdout


@pytest.mark.parametrize(("name", "file"), [("g", "indices-0.blk"), ("x", "rows.blk")])
def test_damage_to_a_graph_or_a_table_is_named(outcrop: Outcrop, stored: Path, name: str, file: str) -> None:
    for path in stored.rglob(file):
        with path.open("r+b") as opened:
            opened.seek(2 * 4096 + 5)
            (byte,) = opened.read(1)
            opened.seek(2 * 4096 + 5)
            opened.write(bytes([byte ^ 16]))

    result = outcrop("verify", name, "--path", stored, "--json")

    assert result.exit_code == ExitCode.CORRUPT
    bad = [report for report in json.loads(result.stdout) if report["problems"]]
    assert {(problem["file"], problem["block"]) for report in bad for problem in report["problems"]} == {(file, 2)}
    assert not any(report["contents_checked"] for report in bad)
