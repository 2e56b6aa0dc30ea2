"""`outcrop features` imports rows and describes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import outcrop as api
from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = np.random.default_rng(3).standard_normal((50, 6)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "raw.npy").write_bytes(rows.tobytes())
    return tmp_path / "root"


@pytest.mark.parametrize(
    "options", [["rows.npy"], ["raw.npy", "--dtype", "float32", "--row-shape", "6"]], ids=["npy", "header-less"]
)
def test_import_keeps_every_bit(ok: Ok, root: Path, options: list[str]) -> None:
    report = ok("features", "import", "x", root.parent / options[0], *options[1:], "--path", root)

    facts = report["features"]
    assert (facts["num_rows"], facts["row_shape"], facts["dtype"], facts["codec"]) == (50, [6], "float32", "raw")
    assert (facts["row_bytes"], report["source_bytes"]) == (24, 1200)
    with api.connect(root, read_only=True) as database, database.features("x") as table:
        np.testing.assert_array_equal(table.fetch([49, 0, 49]), np.load(root.parent / "rows.npy")[[49, 0, 49]])


@pytest.mark.parametrize(("codec", "row_bytes"), [("float16", 12), ("bfloat16", 12), ("int8", 10)])
def test_codecs_halve_or_quarter_the_rows(ok: Ok, root: Path, codec: str, row_bytes: int) -> None:
    facts = ok("features", "import", "x", root.parent / "rows.npy", "--codec", codec, "--path", root)["features"]

    assert (facts["codec"], facts["row_bytes"]) == (codec, row_bytes)


def test_labels_are_rows_of_one_number(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    np.save(root.parent / "labels.npy", np.arange(50))

    facts = ok("features", "import", "y", root.parent / "labels.npy", "--path", root)["features"]

    assert (facts["row_shape"], facts["dtype"]) == ([], "int64")
    assert "one number" in outcrop("features", "stats", "y", "--path", root).stdout


def test_stats_lists_tables_or_shows_one(ok: Ok, outcrop: Outcrop, root: Path) -> None:
    for name in ("b", "a"):
        ok("features", "import", name, root.parent / "rows.npy", "--path", root)

    assert [table["name"] for table in ok("features", "stats", "--path", root)] == ["a", "b"]
    assert ok("features", "stats", "b", "--path", root)["version"] == 1
    lines = [line.split() for line in outcrop("features", "stats", "b", "--path", root).stdout.splitlines()]
    assert lines[0] == ["features", "version", "rows", "of", "type", "codec", "bytes", "per", "row", "disk"]
    assert lines[1][:7] == ["b", "1", "50", "6", "float32", "raw", "24"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["import", "x", "no/such.npy"], ExitCode.NOT_FOUND, "no/such.npy"),
        (["import", "x", "{folder}/raw.npy"], ExitCode.USAGE, "say the dtype and the shape"),
        (["import", "x", "{folder}/raw.npy", "--dtype", "float32", "--row-shape", "7"], ExitCode.CORRUPT, "28 bytes"),
        (["import", "x", "{folder}/raw.npy", "--dtype", "float32", "--row-shape", "0"], ExitCode.USAGE, "--row-shape"),
        (["import", "x", "{folder}/rows.npy", "--codec", "zip"], ExitCode.USAGE, "--codec"),
        (["import", "x", "{folder}/rows.npy", "--dtype", "int8"], ExitCode.USAGE, "expected int8, found"),
        (["import", "x", "{folder}/nan.npy", "--codec", "int8"], ExitCode.USAGE, "row 1"),
        (["stats", "x"], ExitCode.NOT_FOUND, "x"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, ok: Ok, root: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    np.save(root.parent / "nan.npy", np.array([[1, 2], [np.nan, 1]], np.float32))
    ok("features", "import", "other", root.parent / "rows.npy", "--path", root)

    result = outcrop("features", *(argument.format(folder=root.parent) for argument in arguments), "--path", root)

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
