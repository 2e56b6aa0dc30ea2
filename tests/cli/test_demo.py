"""`outcrop demo` builds, searches, measures and explains, and leaves something to go on with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Ok = Callable[..., Any]
Outcrop = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OUTCROP_PATH", raising=False)
    return tmp_path


def test_the_demo_runs_from_nothing_and_its_next_commands_work(outcrop: Outcrop, here: Path) -> None:
    result = outcrop("demo", "--rows", "3000", "--nodes", "2000", "--generated", "--json")

    report = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert [(m["asked"], m["cache"]) for m in report["measurements"]] == [
        (f"recall {recall}", cache) for cache in ("cold", "warm") for recall in (0.9, 0.95, 0.99)
    ]
    assert all(m["recall"] >= float(m["asked"].split()[1]) - 0.03 for m in report["measurements"])
    assert [sentence.split(":")[0].split(",")[0] for sentence in report["explanation"]] == [
        "On SSD",
        "In memory",
        f"Read per query at recall {report['measurements'][1]['recall']:.3f} with an empty cache",
        "Reader",
    ]
    training = report["training"]
    assert training["rows_cached"] + training["rows_read"] == training["plan"]["streams"][0]["rows_wanted"]
    assert training["rows_read"] <= training["plan"]["streams"][0]["rows_missed"]
    assert training["epochs"][-1]["loss"] < training["epochs"][0]["loss"]
    assert training["test_accuracy"] > 2 / 16  # of 16 classes
    assert report["served"]["served"]["recall"] == report["served"]["embedded"]["recall"]
    assert report["served"]["served"]["engine_us"] < report["served"]["served"]["p99_us"]
    assert (here / "demo-data" / "OUTCROP").exists()
    for command in report["next_commands"][:1] + report["next_commands"][2:4]:
        _, *arguments = command.split()
        assert outcrop(*arguments).exit_code == 0, command


def test_a_second_demo_uses_the_same_vectors_and_prints_for_people(outcrop: Outcrop, here: Path) -> None:
    assert (
        outcrop("demo", "--rows", "600", "--nodes", "1500", "--generated", "-q", "--path", "elsewhere").exit_code == 0
    )
    text = outcrop("demo", "--rows", "600", "--nodes", "1500", "--generated", "-q", "--path", "elsewhere").stdout

    for words in (
        "2 threads",
        "recall 0.95",
        "On SSD:",
        "In memory, within 8.0 MiB",
        "Reader:",
        "Through a server on this machine",
        "GraphSAGE on 1,500 generated nodes",
        "What to try next",
    ):
        assert words in text
    assert not (here / "demo-data").exists()
