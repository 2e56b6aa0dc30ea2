"""The benchmarks of search and build run, on little data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def search_cold(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("out")
    found: dict[str, Any] = json.loads(_run("search_cold", "--small", "--recall", "0.95", "--json", "--out", str(out)))
    assert found == json.loads((out / "generated.json").read_text())
    found["plots"] = sorted(path.name for path in out.glob("*.png"))
    return found


def test_search_is_measured_cold_and_warm_alone_and_in_batches_from_each_number_of_threads(
    search_cold: dict[str, Any],
) -> None:
    ours = [record for record in search_cold["records"] if record["system"] == "outcrop"]

    assert {(r["state"], r["calls"], r["threads"]) for r in ours} == {
        (state, calls, threads) for state in ("cold", "warm") for calls in ("one", "batch") for threads in (1, 2)
    }
    assert all(r["recall"] >= 0.9 and r["qps"] > 0 and r["p50_us"] <= r["p99_us"] for r in ours)


def test_a_cold_query_reads_all_it_needs_whatever_the_threads(search_cold: dict[str, Any]) -> None:
    cold = [r for r in search_cold["records"] if r["system"] == "outcrop" and r["state"] == "cold"]
    single = [(r["reads"], r["bytes"], r["pages"]) for r in cold if r["calls"] == "one"]

    assert single[0] == single[1]
    assert single[0][0] >= 1
    assert all(r["cache_hits"] == 0 for r in cold)


def test_peers_of_the_same_run_find_their_neighbours_too(search_cold: dict[str, Any]) -> None:
    best: dict[str, float] = {}
    for record in search_cold["records"]:
        best[record["system"]] = max(best.get(record["system"], 0.0), record["recall"])

    assert "outcrop" in best
    assert {name.split(",")[0] for name in best} >= {"faiss IVF in memory", "faiss IVF on disk", "faiss HNSW in memory"}
    assert min(best.values()) >= 0.9


def test_results_say_where_they_come_from_and_are_drawn(search_cold: dict[str, Any]) -> None:
    assert {"cpu", "kernel", "reader", "device_model", "commit", "command"} <= set(search_cold["environment"])
    assert search_cold["builds"][0]["disk_multiple"] > 1
    pytest.importorskip("matplotlib")
    assert search_cold["plots"] == ["generated-uint8.png"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("scratch")
    arguments = ("--rows", "4000", "--dim", "32", "--json", "--scratch", str(scratch))
    found: dict[str, Any] = json.loads(_run("build", *arguments))
    return found


def test_a_build_is_measured_stage_by_stage_within_its_memory_and_beside_faiss(build: dict[str, Any]) -> None:
    assert {"scan", "cluster", "assign", "pack", "calibrate", "commit"} <= set(build["stages"])
    assert 0 < build["peak_anonymous_bytes"] <= build["peak_bytes"] < build["memory_bytes"] + (256 << 20)
    assert build["total"]["asked_to_write"] >= build["disk_bytes"] > build["raw_bytes"]
    assert build["peers"][0]["resident_bytes"] > 0


def test_a_build_shows_the_trade_of_disk_against_reads(build: dict[str, Any]) -> None:
    nearest = {t["copies"]: t for t in build["trials"] if t["rule"][0] == "nearest"}

    assert nearest[1]["disk_multiple"] < nearest[2]["disk_multiple"] < nearest[3]["disk_multiple"]
    assert nearest[1]["nprobe"] > nearest[3]["nprobe"]


def _run(bench: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCH / bench / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def epoch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("dgl")
    out = tmp_path_factory.mktemp("out")
    arguments = (
        "--small",
        "--no-limit",
        "--train",
        "--json",
        "--peers",
        "DGL in memory,DiskGNN's way",
        "--out",
        str(out),
    )
    found: dict[str, Any] = json.loads(_run("epoch", *arguments))
    assert found == json.loads((out / "epoch.json").read_text())
    return found


def test_every_system_loads_whole_epochs_of_about_as_many_rows(epoch: dict[str, Any]) -> None:
    wanted = epoch["plans"][0]["accesses"]
    rows = {r["system"]: [e["rows"] for e in r["epochs"]] for r in epoch["records"]}

    assert set(rows["outcrop planned"]) == {wanted}
    for system in ("DGL in memory", "DiskGNN's way"):
        assert all(0.9 * wanted < found < 1.1 * wanted for found in rows[system])


def test_a_plan_misses_no_more_than_the_reference(epoch: dict[str, Any]) -> None:
    plan, ours = epoch["plans"][0], next(r for r in epoch["records"] if r["system"] == "outcrop planned")

    # A cache whose hottest rows are there from the start misses no more than the best one that begins empty.
    assert 0.5 * plan["belady_bytes"] < plan["missed_bytes"] <= plan["belady_bytes"]
    assert plan["missed_bytes"] + plan["pinned_bytes"] >= plan["belady_bytes"]
    assert all(e["read_bytes"] >= plan["missed_bytes"] for e in ours["epochs"])


def test_a_model_learns_from_planned_minibatches_as_from_those_in_memory(epoch: dict[str, Any]) -> None:
    losses = {r["system"]: r["training"][-1]["loss"] for r in epoch["trained"]}

    assert set(losses) == {"outcrop planned", "DGL in memory"}
    assert all(0 < loss < 3 for loss in losses.values())
