"""`outcrop inspect` lists collections and shows what one is made of."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import outcrop as engine
from outcrop.cli.exit_codes import ExitCode
from outcrop.cli.inspect import list_lengths

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


def test_the_collections_are_a_table(outcrop: Outcrop, tmp_path: Path) -> None:
    with engine.connect(tmp_path) as database:
        database.create_collection("notes", dim=384, metric="cosine", id_type="string")
        database.create_collection("photos", dim=128, dtype="uint8")

    lines = [line.rstrip() for line in outcrop("inspect", "--path", tmp_path).stdout.splitlines()]

    assert lines == [
        " collection  version  vectors  dim  type     metric  ids     disk",
        " notes             -        0  384  float32  cosine  string   0 B",
        " photos            -        0  128  uint8    l2      int64    0 B",
    ]


def test_an_empty_root_says_what_to_do(outcrop: Outcrop, tmp_path: Path) -> None:
    engine.connect(tmp_path).close()

    assert "outcrop build NAME VECTORS" in outcrop("inspect", "--path", tmp_path).stdout


def test_a_collection_is_shown_in_detail(ok: Ok, files: SimpleNamespace) -> None:
    detail = ok("inspect", "tiny", "--path", files.root)

    assert detail["spec"] == {"dim": 32, "metric": "l2", "dtype": "uint8", "id_type": "int64"}
    assert detail["num_rows"] == 3000
    assert sum(detail["files"].values()) == detail["disk_bytes"]
    assert sum(detail["list_bytes"]["counts"]) == detail["num_lists"]
    assert sum(detail["memory"].values()) <= detail["memory_budget"] == 8 << 20
    assert {policy["k"] for policy in detail["policies"]} == {10, 100}
    assert detail["trials"]


def test_a_person_sees_files_lists_memory_policies_and_trials(outcrop: Outcrop, files: SimpleNamespace) -> None:
    text = outcrop("inspect", "tiny", "--path", files.root).stdout

    for words in ("postings.blk", "bytes of a list", "list cache", "what each recall costs", "disk against reads"):
        assert words in text


@pytest.mark.parametrize("lengths", [[64], [64, 128, 6400], [2000, 2000], [130_000, 5, 77]])
def test_every_list_is_in_the_histogram(lengths: list[int]) -> None:
    found = list_lengths(np.array(lengths, np.int64))

    assert found.counts.sum() == len(lengths)
    assert (found.shortest, found.longest) == (min(lengths), max(lengths))
    assert len(found.counts) <= 13


def test_what_is_not_there_is_one_line_and_an_exit_code(outcrop: Outcrop, files: SimpleNamespace) -> None:
    result = outcrop("inspect", "nothing", "--path", files.root)

    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr.count("\n") == 1
