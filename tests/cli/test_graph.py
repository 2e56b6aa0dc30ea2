"""`outcrop graph` makes graphs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


def test_make_writes_a_folder_of_arrays(ok: Ok, tmp_path: Path) -> None:
    made = ok(
        "graph", "make", tmp_path / "g", "--nodes", "900", "--degree", "6", "--dim", "4", "--classes", "3",
        "--dtype", "float16", "--train", "0.5", "--seed", "1",
    )  # fmt: skip

    assert made["shape"] == {"num_nodes": 900, "degree": 6, "dim": 4, "num_classes": 3, "seed": 1}
    assert np.load(tmp_path / "g" / "features.npy").shape == (900, 4)
    assert len(np.load(tmp_path / "g" / "indices.npy")) == made["num_edges"]
    assert len(np.load(tmp_path / "g" / "train_idx.npy")) == 450


@pytest.mark.parametrize("before", [[], ["--quiet"]])
def test_dataset_make_graph_is_the_same_command(ok: Ok, tmp_path: Path, before: list[str]) -> None:
    ok("graph", "make", tmp_path / "a", "--nodes", "200")
    ok(*before, "dataset", "make", "graph", tmp_path / "b", "--nodes", "200")

    for file in (tmp_path / "a").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_make_tells_what_it_made(outcrop: Outcrop, tmp_path: Path) -> None:
    text = outcrop("graph", "make", tmp_path / "g", "--nodes", "1000").stdout

    assert "1,000 nodes" in text
    assert "16 classes" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "{folder}/g", "--nodes", "100", "--degree", "60"], "mean degree of 0 to 24"),
        (["make", "{folder}/g", "--dtype", "int8"], "expected float32 or float16, found 'int8'"),
        (["make", "{folder}/g", "--train", "0.9", "--val", "0.2"], "at most 1 together"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = outcrop("graph", *(argument.format(folder=tmp_path) for argument in arguments))

    assert result.exit_code == ExitCode.USAGE, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
