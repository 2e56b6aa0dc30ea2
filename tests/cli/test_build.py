"""`outcrop build` makes collections out of files, reports what that took, and refuses what cannot work."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from rich.console import Console

from outcrop.cli.build import TrialCost, trials_table
from outcrop.cli.exit_codes import ExitCode

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]
MEMORY = ("--memory", "32MiB", "--threads", "1")


def save(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    return save(tmp_path / "vectors.npy", np.random.default_rng(1).integers(0, 99, (300, 8)).astype(np.uint8))


def test_build_makes_the_collection_and_reports_time_memory_disk_and_trials(
    ok: Ok, vectors: Path, tmp_path: Path
) -> None:
    report = ok("build", "tiny", vectors, *MEMORY, "--path", tmp_path / "root")

    assert (report["name"], report["version"]) == ("tiny", 1)
    assert (report["num_rows"], report["dim"], report["dtype"], report["metric"]) == (300, 8, "uint8", "l2")
    assert report["seconds"] > 0
    assert report["peak_rss_bytes"] > 1 << 20
    assert report["disk_multiple"] == pytest.approx(report["disk_bytes"] / (300 * 8))
    assert sum(trial["chosen"] for trial in report["trials"]) == 1


def test_a_second_build_makes_the_next_version(ok: Ok, vectors: Path, tmp_path: Path) -> None:
    ok("build", "tiny", vectors, *MEMORY, "--path", tmp_path / "root")
    report = ok("build", "tiny", vectors, *MEMORY, "--path", tmp_path / "root", "--limit", "100")

    assert (report["version"], report["num_rows"]) == (2, 100)


def test_bytes_under_cosine_are_stored_as_float32(ok: Ok, vectors: Path, tmp_path: Path) -> None:
    report = ok("build", "tiny", vectors, *MEMORY, "--metric", "cosine", "--path", tmp_path / "root")

    assert (report["metric"], report["dtype"]) == ("cosine", "float32")


def test_the_options_of_experts_reach_the_build(ok: Ok, vectors: Path, tmp_path: Path) -> None:
    options = ("--copies", "2", "--copy-rule", "nearest", "--num-centroids", "7", "--search-memory", "9MiB")
    report = ok("build", "tiny", vectors, *MEMORY, *options, "--path", tmp_path / "root")

    assert report["copy_rule"] == "nearest 2"
    assert 4 <= report["num_centroids"] <= 8  # clusters that stay empty are dropped
    assert report["search_memory_bytes"] == 9 << 20


def test_ids_come_from_an_array_or_from_lines_of_text(ok: Ok, vectors: Path, tmp_path: Path) -> None:
    numbers = save(tmp_path / "ids.npy", np.arange(300) + 1000)
    (tmp_path / "names.txt").write_text("".join(f"name {n}\n" for n in range(300)))
    root = ("--path", tmp_path / "root")
    ok("build", "numbered", vectors, "--ids", numbers, *MEMORY, *root)
    ok("build", "named", vectors, "--ids", tmp_path / "names.txt", *MEMORY, *root)

    found = [ok("search", name, vectors, "--exact", "-k", "1", "--limit", "1", *root) for name in ("numbered", "named")]

    assert [report["distances"] for report in found] == [[[0]], [[0]]]
    assert found[0]["ids"][0][0] >= 1000
    assert found[1]["ids"][0][0].startswith("name ")


def test_verbose_tells_the_stages(outcrop: Outcrop, vectors: Path, tmp_path: Path) -> None:
    result = outcrop("build", "tiny", vectors, *MEMORY, "-v", "--path", tmp_path / "root")

    assert "100%  done" in result.stderr


def test_the_summary_names_what_matters(outcrop: Outcrop, vectors: Path, tmp_path: Path) -> None:
    text = outcrop("build", "tiny", vectors, *MEMORY, "--path", tmp_path / "root").stdout

    for words in ("300 x 8 uint8, l2", "peak memory", "times the raw vectors", "entries per vector", "disk x raw"):
        assert words in text


def test_the_trade_of_disk_against_reads_is_a_table() -> None:
    trials = [
        TrialCost("none", 1.0, 1.1, 66, 27.24, 319_488, 373.4, False),
        TrialCost("soar 2", 2.0, 2.13, 27, 16.4, 214_016, 224.1, True),
    ]
    text = io.StringIO()
    Console(file=text, width=100).print(trials_table(trials))

    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines == [
        "disk against reads, per query of recall@10 0.95 (estimates)",
        " rule    entries  disk x raw  nprobe  reads   KB  device us",
        " none       1.00        1.10      66   27.2  319        373",
        " soar 2     2.00        2.13      27   16.4  214        224  chosen",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no/such.npy"], ExitCode.NOT_FOUND, "no/such.npy"),
        (["{vectors}", "--memory", "1MiB"], ExitCode.UNAVAILABLE, "at least"),
        (["{vectors}", "--memory", "lots"], ExitCode.USAGE, "lots"),
        (["{vectors}", "--metric", "hamming"], ExitCode.USAGE, "hamming"),
        (["{vectors}", "--copy-rule", "magic"], ExitCode.USAGE, "magic"),
        (["{vectors}", "--code", "sq8"], ExitCode.USAGE, "sq8"),
        (["{vectors}", "--ids", "no/ids.npy"], ExitCode.NOT_FOUND, "no/ids.npy"),
        (["{vectors}", "--ids", "{vectors}"], ExitCode.USAGE, "expected integers or text"),
        (["{nan}"], ExitCode.USAGE, "row 3"),
        (["{vectors}", "--calibration-queries", "{wide}"], ExitCode.USAGE, "[n, 8]"),
    ],
)
def test_wrong_input_is_one_line_and_an_exit_code(
    outcrop: Outcrop, vectors: Path, tmp_path: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    nan = np.ones((9, 4), np.float32)
    nan[3, 2] = np.nan
    places = {
        "vectors": vectors,
        "nan": save(tmp_path / "nan.npy", nan),
        "wide": save(tmp_path / "wide.npy", np.ones((9, 11), np.uint8)),
    }
    given = [argument.format(**places) for argument in arguments]

    result = outcrop("build", "tiny", *given, "--threads", "1", "--path", tmp_path / "root")

    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_a_collection_keeps_its_metric(outcrop: Outcrop, ok: Ok, vectors: Path, tmp_path: Path) -> None:
    ok("build", "tiny", vectors, *MEMORY, "--path", tmp_path / "root")

    result = outcrop("build", "tiny", vectors, *MEMORY, "--metric", "ip", "--path", tmp_path / "root")

    assert result.exit_code == ExitCode.USAGE
    assert "exists and is l2, ip was asked" in result.stderr
