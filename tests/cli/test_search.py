"""`outcrop search` prints neighbours or writes them, with what they cost."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from outcrop.cli.exit_codes import ExitCode
from outcrop.datasets.ground_truth import read_ground_truth

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


def test_exact_search_gives_the_true_neighbours(ok: Ok, files: SimpleNamespace) -> None:
    report = ok("search", "tiny", files.queries, "-k", "20", "--exact", "--path", files.root)

    truth = read_ground_truth(files.ground_truth)
    assert truth.distances is not None
    np.testing.assert_array_equal(report["distances"], truth.distances)
    assert report["exact_distances"] is True


def test_a_recall_is_reached_and_the_cost_is_told(ok: Ok, files: SimpleNamespace) -> None:
    report = ok("search", "tiny", files.queries, "--recall", "0.9", "--path", files.root)

    truth = read_ground_truth(files.ground_truth)
    assert truth.distances is not None
    recall = np.mean(np.array(report["distances"]) <= truth.distances[:, 9:10])
    assert recall >= 0.85
    assert report["num_queries"] == 40
    assert report["usage"]["reads"] > 0
    assert report["reader"] in {"io_uring", "pread", "memory"}


def test_hits_are_written_as_npz_or_ivecs(ok: Ok, files: SimpleNamespace, tmp_path: Path) -> None:
    command = ("search", "tiny", files.queries, "-k", "3", "--limit", "4", "--nprobe", "5", "--path", files.root)
    direct = ok(*command)
    ok(*command, "--output", tmp_path / "hits.npz")
    ok(*command, "--output", tmp_path / "hits.ivecs")

    with np.load(tmp_path / "hits.npz") as hits:
        assert hits["ids"].tolist() == direct["ids"]
        assert hits["distances"].tolist() == direct["distances"]
    assert read_ground_truth(tmp_path / "hits.ivecs").ids.tolist() == direct["ids"]


def test_a_person_sees_a_table_and_the_cost(outcrop: Outcrop, files: SimpleNamespace) -> None:
    text = outcrop("search", "tiny", files.queries, "--path", files.root).stdout

    assert "ids (distances), 5 more each" in text
    assert "30 more; --json or --output gives all" in text
    assert "40 queries in" in text


def test_fewer_neighbours_than_asked_are_valid_json(ok: Ok, outcrop: Outcrop, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.eye(2, 4, dtype=np.float32))
    ok("build", "two", tmp_path / "two.npy", "--memory", "32MiB", "--path", tmp_path / "root")

    report = ok("search", "two", tmp_path / "two.npy", "-k", "3", "--path", tmp_path / "root")

    assert report["ids"] == [[0, 1, -1], [1, 0, -1]]
    assert report["distances"][0] == [0, 2, None]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing", "{queries}"], ExitCode.NOT_FOUND, "nothing"),
        (["tiny", "no/such.npy"], ExitCode.NOT_FOUND, "no/such.npy"),
        (["tiny", "{queries}", "-k", "0"], ExitCode.USAGE, "k: expected"),
        (["tiny", "{queries}", "--recall", "2"], ExitCode.USAGE, "recall"),
        (["tiny", "{queries}", "--recall", "0.9", "--nprobe", "3"], ExitCode.USAGE, "exclude"),
        (["tiny", "{queries}", "--output", "hits.txt"], ExitCode.USAGE, ".npz or .ivecs"),
        (["tiny", "{queries}", "--memory", "4KiB"], ExitCode.UNAVAILABLE, "budget"),
        (["tiny", "{queries}", "--reader", "magic"], ExitCode.USAGE, "magic"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, files: SimpleNamespace, arguments: list[str], code: ExitCode, words: str
) -> None:
    given = [argument.format(queries=files.queries) for argument in arguments]

    result = outcrop("search", *given, "--path", files.root)

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_searching_leaves_no_folder_behind(outcrop: Outcrop, files: SimpleNamespace, tmp_path: Path) -> None:
    result = outcrop("search", "tiny", files.queries, "--path", tmp_path / "nothing")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert not (tmp_path / "nothing").exists()
